"""Any bytes give a value or a WireError, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wire.wire_frames import CAPTURES, built_frames, frames_of
from weft.wire import icmp, icmpv6, ip, nd, pcapng
from weft.wire.arp import Arp
from weft.wire.describe import describe
from weft.wire.errors import WireError
from weft.wire.ethernet import Ethernet
from weft.wire.icmp import Icmp
from weft.wire.icmpv6 import Icmpv6
from weft.wire.igmp import Igmp, groups
from weft.wire.ipv4 import IPv4
from weft.wire.ipv6 import IPv6
from weft.wire.packet import dissect, dissect_ip
from weft.wire.quote import Quote
from weft.wire.tcp import Tcp
from weft.wire.udp import Udp
from weft.wire.verify import wrong_checksums
from weft.wire.vxlan import Vxlan

FRAMES = [frame for path in CAPTURES for frame in frames_of(path)[:12]] + built_frames()

DECODERS: list[Callable[[bytes], object]] = [
    *(each.decode for each in (Ethernet, Arp, IPv4, IPv6, Udp, Tcp, Icmp, Icmpv6, Igmp, Vxlan, Quote)),
    *(
        each.decode
        for each in (
            nd.NeighborSolicitation,
            nd.NeighborAdvertisement,
            nd.RouterSolicitation,
            nd.RouterAdvertisement,
        )
    ),
    nd.decode,
    ip.decode,
    icmp.answer,
    icmpv6.answer,
    pcapng.read,
]


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__qualname__)
@given(data=st.binary(max_size=120))
def test_decoders_are_total(decode: Callable[[bytes], object], data: bytes) -> None:
    caught = None
    try:
        decode(data)
    except WireError as error:
        caught = error
    assert caught is None or (caught.what and 0 <= caught.offset <= len(data))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid frame with a few bytes changed, then perhaps cut or extended; never below 14 bytes."""
    frame = bytearray(draw(st.sampled_from(FRAMES)))
    for _ in range(draw(st.integers(0, 4))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(14, len(frame)))
    return bytes(frame[:cut]) + draw(st.binary(max_size=8))


@pytest.mark.thorough
@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(frame=damaged())
def test_dissect_never_raises(frame: bytes) -> None:
    packet = dissect(frame)
    assert describe(packet)
    assert "\n" not in describe(packet)
    assert isinstance(wrong_checksums(packet), tuple)
    if packet.icmpv6:
        assert all(icmpv6.groups(packet.icmpv6, packet.payload))
    if packet.igmp:
        assert all(groups(packet.igmp, packet.payload))


@pytest.mark.thorough
@settings(max_examples=500)
@given(frame=st.binary(min_size=14, max_size=200))
def test_dissect_takes_random_bytes(frame: bytes) -> None:
    assert describe(dissect(frame))
    assert describe(dissect_ip(frame))


@given(frame=st.binary(max_size=13))
def test_dissect_refuses_what_is_no_frame(frame: bytes) -> None:
    with pytest.raises(WireError, match="ethernet at byte"):
        dissect(frame)


@pytest.mark.thorough
@settings(max_examples=400)
@given(frame=st.sampled_from(FRAMES), data=st.data())
def test_a_cut_inner_packet_keeps_the_outer_layers(frame: bytes, data: st.DataObject) -> None:
    whole = dissect(frame)
    cut = dissect(frame[: data.draw(st.integers(14, len(frame) - 1))])
    assert cut.ethernet is None or cut.ethernet == whole.ethernet
    for layer in ("ip", "udp", "vxlan"):
        assert getattr(cut, layer) in (None, getattr(whole, layer))
    if whole.ip and not whole.trailer:
        assert cut.error


def test_the_error_names_the_byte_in_the_whole_frame() -> None:
    frame = frames_of(CAPTURES[2])[0]
    # 14 Ethernet + 20 IPv4 + 8 UDP + 8 VXLAN + 14 inner Ethernet: the inner ARP's protocol type
    broken = frame[:66] + b"\x86\xdd" + frame[68:]
    packet = dissect(broken)
    assert packet.vxlan
    assert packet.inner
    assert packet.inner.ethernet
    assert packet.inner.arp is None
    assert packet.error.startswith("arp at byte 64: ")
    assert describe(packet).endswith(f"(damaged: {packet.error})")


def test_vxlan_without_its_flag_is_an_error() -> None:
    frame = frames_of(CAPTURES[2])[0]
    packet = dissect(frame[:42] + b"\x00" + frame[43:])
    assert packet.udp
    assert packet.vxlan is None
    assert packet.error == "vxlan at byte 42: flags 0x00 lack 0x08, so the VNI is not valid"


def test_a_nest_without_end_is_cut_short() -> None:
    frame = built_frames()[3]
    for _ in range(1000):
        datagram = Udp(1, 4789).encode(Vxlan(1).encode(frame))
        if len(datagram) > 60000:
            break
        frame = Ethernet("02:00:00:00:00:01", "02:00:00:00:00:02", 0x0800).encode(
            IPv4("10.0.0.1", "10.0.0.2", 17).encode(datagram)
        )
    assert "more than 8 frames" in dissect(frame).error
