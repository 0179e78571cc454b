"""The pure parts of an IP tunnel: TTL, routes, answers, batches, and what is believed of what comes in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.l2.user.frames import offloaded, tcp
from tests.l2.user.iptunnel.fakes import FakeUnderlay, plain, tunnel
from weft.l2.user import vnet
from weft.l2.user.iptunnel import answer, header
from weft.l2.user.iptunnel.batch import Batch
from weft.l2.user.iptunnel.egress import TunnelEgress
from weft.l2.user.iptunnel.ingress import TunnelIngress
from weft.l2.user.iptunnel.routes import Routes
from weft.l2.user.receiver import Arrival
from weft.l2.user.tx.split import finish
from weft.plan import tables
from weft.wire.icmp import TIME_EXCEEDED, UNREACHABLE, Icmp
from weft.wire.ipv4 import IPv4
from weft.wire.packet import dissect
from weft.wire.verify import wrong_checksums

PEER, OTHER = "172.31.99.12", "172.31.99.13"
ROUTES = [("10.6.20.0/24", PEER), ("10.6.0.0/16", OTHER), ("10.1.1.0/24", PEER)]


def packet(dst: str = "10.6.20.2", ttl: int = 64, src: str = "10.6.84.2", **more: object) -> bytes:
    return IPv4(src, dst, 17, ttl=ttl, **more).encode(b"\x04\x00\x08\x00" + bytes(20))  # type: ignore[arg-type]


@given(ttl=st.integers(2, 255), ident=st.integers(0, 65535), tos=st.integers(0, 255))
@example(ttl=63, ident=0, tos=178)  # the checksum is 0 afterwards
def test_a_hop_takes_one_off_the_ttl_and_keeps_the_checksum_right(ttl: int, ident: int, tos: int) -> None:
    data = bytearray(packet(ttl=ttl, identification=ident, tos=tos))
    assert header.forward(memoryview(data))
    assert bytes(data) == packet(ttl=ttl - 1, identification=ident, tos=tos)


@given(damage=st.integers(1, 0xFFFE))
def test_a_wrong_checksum_stays_wrong(damage: int) -> None:
    data = bytearray(packet())
    data[10:12] = ((data[10] << 8 | data[11]) ^ damage).to_bytes(2, "big")
    header.forward(memoryview(data))
    assert bytes(data) != packet(ttl=63)


@given(st.binary(max_size=80))
def test_any_octets_are_sound_or_not(data: bytes) -> None:
    if header.sound(memoryview(data)):
        decoded, _ = IPv4.decode(data)
        assert int(IPv4Address(decoded.dst)) == header.destination(memoryview(data))


networks = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False), st.integers(0, 2**32 - 1), st.integers(1, 32)
)
near = st.builds(lambda low: 0x0A060000 | low, st.integers(0, 0xFFFF))


@given(
    st.lists(networks | st.builds(lambda a, n: IPv4Network((a, n), strict=False), near, st.integers(12, 32))),
    st.integers(0, 2**32 - 1) | near,
    st.data(),
)
def test_the_longest_prefix_wins(subnets: list[IPv4Network], address: int, data: st.DataObject) -> None:
    wanted = {subnet: f"172.31.0.{index % 250}" for index, subnet in enumerate(subnets)}
    routes = Routes()
    routes.put(tables.routes([(str(subnet), vtep) for subnet, vtep in wanted.items()]))
    gone = [subnet for subnet in wanted if data.draw(st.booleans())]
    routes.drop(tables.routes([(str(subnet), "0.0.0.0") for subnet in gone]))
    kept = {subnet: vtep for subnet, vtep in wanted.items() if subnet not in gone}
    fits = [subnet for subnet in kept if IPv4Address(address) in subnet]
    best = kept[max(fits, key=lambda subnet: subnet.prefixlen)] if fits else None
    assert routes.find(address) == best
    assert routes.vteps == set(kept.values())
    rows = tables.routes([(str(subnet), vtep) for subnet, vtep in kept.items()])
    assert routes.rows().tolist() == rows.tolist()


@pytest.mark.parametrize(
    "odd",
    [
        packet(fragment_offset=64),
        packet(dst="224.0.0.1"),
        packet(src="0.0.0.0"),
        packet(src="127.0.0.1"),
        packet(src="239.1.1.1"),
        IPv4("10.6.84.2", "10.6.99.9", 1).encode(Icmp(UNREACHABLE, 0).encode(bytes(28))),
    ],
)
def test_no_answer_where_none_may_be_given(odd: bytes) -> None:
    assert answer.net_unreachable(memoryview(odd), "10.6.84.0") is None


def test_answers_have_a_limit() -> None:
    limit = answer.Limit()
    assert sum(limit.allows(100.0) for _ in range(1000)) == 50
    assert sum(limit.allows(100.01) for _ in range(1000)) == 10
    assert limit.allows(200.0)


def test_a_ttl_that_runs_out_is_told_at_either_end() -> None:
    state, device, underlay = tunnel("10.6.84.0", ROUTES)
    device.put.append(plain(packet(ttl=1)))
    TunnelEgress().drain(state, 0.0)
    told = IPv4.decode(device.taken[0][vnet.SIZE :])
    assert (told[0].src, told[0].dst, told[1][0]) == ("10.6.84.0", "10.6.84.2", TIME_EXCEEDED)
    device.taken.clear()
    ingress, last = TunnelIngress(), packet(src="10.6.20.2", dst="10.6.84.2", ttl=1)
    ingress._buffer[: len(last)] = last
    ingress.take(state, Arrival(len(last), len(last), PEER, 0), 0.0)
    assert (device.taken, ingress.tally.drops) == ([], {"TTL": 1})
    ((vtep, back),) = underlay.sent
    head, body = IPv4.decode(back)
    assert (vtep, head.src, head.dst, body[0]) == (PEER, "10.6.84.0", "10.6.20.2", TIME_EXCEEDED)


@pytest.mark.parametrize(
    ("vtep", "data", "why"),
    [
        ("172.31.99.66", packet(), "not a member"),
        (PEER, b"", "not IPv4"),
        (PEER, b"\x60" + bytes(60), "not IPv4"),
        (PEER, packet()[:-1], "not IPv4"),
        (PEER, packet(src="10.6.84.0"), "our own"),
    ],
)
def test_what_is_not_believed_is_counted(vtep: str, data: bytes, why: str) -> None:
    state, device, _ = tunnel("10.6.84.0", ROUTES)
    ingress = TunnelIngress()
    ingress._buffer[: len(data)] = data
    ingress.take(state, Arrival(len(data), len(data), vtep, 0), 0.0)
    assert device.taken == []
    assert sum(ingress.tally.drops.values()) == ingress.tally.drops[why] <= 1


@given(
    payloads=st.lists(st.integers(1, 9000), min_size=1, max_size=6),
    mss=st.integers(100, 1400),
)
def test_frames_out_and_in_again_are_the_same_stream(payloads: list[int], mss: int) -> None:
    """TCP frames of one flow through both ends: every octet, TTL two less, every checksum right."""
    state, device, underlay = tunnel("10.6.84.0", ROUTES)
    sequence, stream = 1000, b""
    for number, size in enumerate(payloads):
        payload = bytes((number + at) & 0xFF for at in range(size))
        big, offload = offloaded(tcp(payload, sequence=sequence), mss)
        inner = offload._replace(start=offload.start - 14, header=max(0, offload.header - 14))
        device.put.append(inner.encode() + bytes(big[14:]))
        sequence, stream = sequence + size, stream + payload
    TunnelEgress().drain(state, 0.0)
    sent = [data for _, data in underlay.sent]
    for data in sent:
        assert wrong_checksums(dissect(bytes(12) + b"\x08\x00" + data)) == ()
        assert data[8] == 63
    ingress = TunnelIngress()
    for at in range(0, len(sent), 44):
        _arrive(ingress, state, sent[at : at + 44])
    got = b""
    for taken in device.taken:
        offload, frame = vnet.decode(taken), bytearray(bytes(12) + b"\x08\x00" + taken[vnet.SIZE :])
        if offload.flags & vnet.NEEDS_CSUM:
            assert finish(memoryview(frame), offload._replace(start=offload.start + 14))
        found = dissect(bytes(frame))
        assert wrong_checksums(found) == ()
        assert isinstance(found.ip, IPv4)
        assert found.ip.ttl == 62
        got += found.payload
    assert got == stream


def _arrive(ingress: TunnelIngress, state: object, datagrams: list[bytes]) -> None:
    """Datagrams as the kernel hands them over: trains of one size, of which the last may be shorter."""
    while datagrams:
        size = len(datagrams[0])
        count = next((i for i, each in enumerate(datagrams) if len(each) != size), len(datagrams))
        if count < len(datagrams) and len(datagrams[count]) < size:
            count += 1
        data = b"".join(datagrams[:count])
        ingress._buffer[: len(data)] = data
        ingress.take(state, Arrival(len(data), size, PEER, 0), 0.0)  # type: ignore[arg-type]
        datagrams = datagrams[count:]


@given(st.lists(st.tuples(st.sampled_from([PEER, OTHER]), st.sampled_from([100, 120]), st.integers(1, 3000))))
def test_batches_keep_every_octet_and_the_order(trains: list[tuple[str, int, int]]) -> None:
    underlay, batch = FakeUnderlay(most=8), Batch()
    wanted: list[tuple[str, bytes]] = []
    for number, (vtep, size, octets) in enumerate(trains):
        octets = octets if octets > 1500 else octets % size + 1
        size = min(size, octets)
        data = bytes((number + at) & 0xFF for at in range(octets))
        batch.add(underlay, vtep, memoryview(data), size)
        wanted += [(vtep, data[at : at + size]) for at in range(0, octets, size)]
    batch.flush()
    assert underlay.sent == wanted
    assert all(octets <= 8 * size for octets, size in underlay.calls)


def test_packets_that_stand_for_themselves_go_together() -> None:
    state, device, underlay = tunnel("10.6.84.0", ROUTES)
    device.put += [plain(packet(identification=number)) for number in range(10)]
    TunnelEgress().drain(state, 0.0)
    assert underlay.sent == [(PEER, packet(ttl=63, identification=number)) for number in range(10)]
    assert len(underlay.calls) == 1


def test_full_trains_fill_calls() -> None:
    underlay, batch = FakeUnderlay(most=44), Batch()
    for _ in range(44):
        batch.add(underlay, PEER, memoryview(bytes(45 * 100)), 100)
    batch.flush()
    assert underlay.calls == [(44 * 100, 100)] * 45
