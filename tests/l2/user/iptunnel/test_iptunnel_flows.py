"""What is remembered of packets changes nothing: datagrams, answers and counters are the same without it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.l2.user.frames import offloaded, tcp, udp
from tests.l2.user.iptunnel.fakes import tunnel
from weft.l2.user import vnet
from weft.l2.user.iptunnel import flows, header
from weft.l2.user.iptunnel.egress import TunnelEgress
from weft.l2.user.iptunnel.flows import Flow, Flows, Key
from weft.l2.user.iptunnel.routes import Lookups
from weft.l2.user.vnet import Offload
from weft.plan import tables

PEER, OTHER = "172.31.99.12", "172.31.99.13"
ROUTES = [("10.0.0.0/8", PEER), ("10.1.1.0/24", OTHER), ("10.1.1.12/32", PEER)]  # frames.py's hosts are in there
ETHERNET = 14
_PLAIN = Offload()


def _bare(frame: bytes, offload: Offload = _PLAIN) -> bytes:
    """A packet as the device hands it over: no link header, and offsets without it."""
    if offload.flags or offload.gso:
        start, head = offload.start - ETHERNET, max(0, offload.header - ETHERNET)
        offload = offload._replace(start=start, header=head)
    return offload.encode() + frame[ETHERNET:]


def _changed(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes((value,)) + packet[at + 1 :]


def _big(payload: int, **fields: object) -> bytes:
    frame, offload = offloaded(tcp(bytes(range(256)) * (payload // 256 + 1), **fields), 500)  # type: ignore[arg-type]
    return _bare(bytes(frame), offload)


def _with_options(packet: bytes, options: bytes) -> bytes:
    """A big packet with four octets of IPv4 options."""
    offload, at = vnet.decode(packet), vnet.SIZE + 20
    moved = offload._replace(start=offload.start + 4, header=offload.header + 4)
    return moved.encode() + b"\x46" + packet[vnet.SIZE + 1 : at] + options + packet[at:]


def _pool() -> list[bytes]:
    ack = _bare(tcp(b""))
    unfinished = Offload(vnet.NEEDS_CSUM, start=20, offset=16).encode()
    small = [ack, unfinished + ack[vnet.SIZE :], _bare(udp(b"short")), _bare(udp(bytes(900))), _bare(tcp(b"", tos=2))]
    bigs = [_big(4000), _big(4000, sequence=9000, ident=80), _big(1000, flags=0x18), _big(4000, options=bytes(12))]
    odd = [_changed(ack, vnet.SIZE + at, value) for at, value in ((0, 0x46), (0, 0x60), (2, 9), (8, 1), (8, 2), (9, 1))]
    odd += [_changed(bigs[0], vnet.SIZE + at, value) for at, value in ((8, 1), (8, 9), (12, 11), (16, 99), (32, 0xF0))]
    odd += [_changed(bigs[0], at, value) for at, value in ((1, 7), (4, 100), (6, 24))]
    odd += [Offload(vnet.NEEDS_CSUM, start=start, offset=8).encode() + ack[vnet.SIZE :] for start in (0, 4, 200)]
    odd += [_with_options(bigs[0], options) for options in (bytes(4), b"\x94\4\0\0")]
    odd += [ack[: vnet.SIZE + 10], ack[:-1], ack + b"more", vnet.PLAIN]
    return small + bigs + odd


POOL = _pool()


class Forgetful(Flows):
    def find(self, key: Key, size: int, lookups: Lookups) -> Flow | None:
        return None


class Host:
    def __init__(self, remembers: bool) -> None:
        self.state, self.device, self.underlay = tunnel("10.6.84.0", ROUTES[:1])
        self.egress = TunnelEgress()
        if not remembers:
            self.egress._flows = Forgetful()

    def route(self, index: int, there: bool) -> None:
        (self.state.routes.put if there else self.state.routes.drop)(tables.routes([ROUTES[index]]))

    def goes(self, packets: Sequence[int]) -> None:
        self.device.put += [POOL[index] for index in packets]
        self.egress.drain(self.state, 0.0)

    def told(self) -> tuple[object, ...]:
        tally = self.egress.tally
        return (
            self.underlay.sent,
            self.underlay.calls,
            self.device.taken,
            tally.drops,
            tally.port_in,
            tally.port_in_octets,
        )


indexes = st.integers(0, len(POOL) - 1)
STEPS = st.one_of(
    st.tuples(st.just("goes"), st.lists(indexes, min_size=1, max_size=8)),
    st.tuples(st.just("goes"), st.lists(st.integers(0, 8), min_size=1, max_size=8)),
    st.tuples(st.just("route"), st.integers(0, len(ROUTES) - 1), st.booleans()),
)


@pytest.mark.thorough
@given(st.lists(STEPS, max_size=20))
@example([("goes", [*range(len(POOL)), *range(len(POOL))])])
def test_who_remembers_sends_what_who_forgets_sends(steps: list[tuple[str, object]]) -> None:
    hosts = Host(True), Host(False)
    for name, *arguments in steps:
        for host in hosts:
            getattr(host, name)(*arguments)
    assert hosts[0].told() == hosts[1].told()


@pytest.mark.parametrize("index", range(9))
def test_the_next_of_a_flow_goes_the_short_way_until_the_routes_change(
    index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(True)
    host.goes([index])
    sent = list(host.underlay.sent)
    with monkeypatch.context() as patch:
        patch.setattr(header, "sound", lambda *_: pytest.fail("the long way"))
        host.goes([index])
    assert host.underlay.sent == sent * 2
    host.route(0, False)
    host.goes([index])
    assert host.underlay.sent == sent * 2
    assert host.egress.tally.drops == {"no route": 1}


def test_flows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "FLOWS", 4)
    host = Host(True)
    for number in range(20):
        host.device.put.append(_changed(POOL[0], vnet.SIZE + 15, number))
        host.egress.drain(host.state, 0.0)
        assert 0 < len(host.egress._flows._flows) <= 4
