"""Frames that are split together leave as if each had been split alone, and no flow overtakes itself."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from tests.l2.user.frames import B, offloaded, split, split_all, tcp
from tests.l2.user.iptunnel.fakes import FakeDevice
from tests.l2.user.tx.test_batch import SEGMENT
from weft.l2.user import vnet
from weft.l2.user.tx.egress import Egress
from weft.l2.user.underlay import Underlay
from weft.l2.user.world import PortState, SegmentState, World
from weft.model.port import Attach, AttachKind
from weft.plan.port import LocalPort
from weft.wire.packet import dissect
from weft.wire.verify import wrong_checksums
from weft.wire.vxlan import Vxlan

MSS = 100
VTEP = "192.168.33.13"


class Wire:
    """An underlay that keeps all datagrams in the order they left."""

    def __init__(self) -> None:
        self.left: list[bytes] = []

    def most(self, size: int) -> int:
        return 4000 // size * size

    def send_train(self, bucket: int, vtep: str, data: memoryview, size: int, tos: int) -> None:
        assert vtep == VTEP
        self.left += [bytes(data[at : at + size]) for at in range(0, len(data), size)]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([300, 300, 300, 250, 400, 60]), st.sampled_from([0x10, 0x18])),
        max_size=30,
    ),
    st.sampled_from([4, 6]),
)
def test_every_flow_keeps_its_order(steps: list[tuple[int, int, int]], version: int) -> None:
    wire, world, device = Wire(), World(), FakeDevice()
    state = SegmentState(SEGMENT, cast(Underlay, wire))
    state.switch.static[bytes.fromhex(B.replace(":", ""))] = VTEP
    world.segments[SEGMENT.key] = state
    attach = Attach(kind=AttachKind.NAMESPACE, target="a")
    port = PortState(LocalPort("p", SEGMENT.key, attach, "02:00:00:00:00:0a", (), 1450), "a", device)
    sent: dict[int, bytes] = {}
    for number, (flow, size, flags) in enumerate(steps):
        before = sent.get(flow, b"")
        payload, options = bytes((number,)) * size, bytes(flow % 2 * 12)
        frame = tcp(
            payload, version=version, ports=(flow, 9), sequence=len(before), flags=flags, ident=number, options=options
        )
        big, offload = offloaded(frame, MSS)
        device.put.append(offload.encode() + big if size > MSS else vnet.PLAIN + frame)
        sent[flow] = before + payload
    egress = Egress(world)
    egress.drain(port, 1.0)
    found: dict[int, bytes] = {}
    for datagram in wire.left:
        packet = dissect(Vxlan.decode(datagram)[1])
        assert not wrong_checksums(packet)
        assert packet.tcp is not None
        assert packet.tcp.seq == len(found.get(packet.tcp.src_port, b""))
        found[packet.tcp.src_port] = found.get(packet.tcp.src_port, b"") + packet.payload
    assert found == sent
    assert not egress.tally.drops


@given(st.integers(1, 4), st.sampled_from([4, 6]), st.sampled_from([99, 100]), st.integers(0, 2**32 - 1))
def test_together_as_alone(many: int, version: int, mss: int, sequence: int) -> None:
    front = Vxlan(5000).encode()
    made = [
        offloaded(
            tcp(
                bytes((number,)) * 5 * mss,
                version=version,
                sequence=(sequence + number * 5 * mss) % 2**32,
                flags=(0x10, 0x18, 0x90, 0x19)[number],
                ident=(65530 + number * 5) % 65536,
                options=bytes(8) + bytes((number,)) * 4,
            ),
            mss,
        )
        for number in range(many)
    ]
    frames, offload = [memoryview(frame) for frame, _ in made], made[0][1]
    together = split_all(frames, offload, front)
    assert together is not None
    alone = [split(frame, offload, front) for frame in frames]
    assert together.data.tobytes() == b"".join(train.data.tobytes() for train in alone if train)
