"""What this machine's kernel writes where it finishes a checksum itself, and what we make of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from tests.wire.wire_frames import V4, zero_sum
from weft.l2.user.vnet import NEEDS_CSUM, Offload
from weft.netlink import namespace
from weft.netlink.channel import Channel
from weft.netlink.ethtool import set_offloads
from weft.netlink.links import Change, Links, Peer
from weft.netlink.namespace import socket_in
from weft.wire.checksum import checksum
from weft.wire.packet import dissect
from weft.wire.verify import wrong_checksums

pytestmark = pytest.mark.system
_SOL_PACKET, _VNET_HDR = 263, 15


@pytest.fixture
def pair() -> Iterator[str]:
    """A namespace with a veth pair, `one` and `two`, as the wire of a lab: offloads off."""
    name = f"weft-t-{os.getpid()}-w"
    namespace.create(name)
    channel = Channel(namespace=name)
    try:
        links = Links(channel)
        with namespace.opened(name) as fd:
            stated = Change(name="one", kind="veth", quiet=True)
            first = links.create(stated, Peer("two", "02:00:00:00:00:0b", 1500, fd))
        second = links.get("two")
        assert second is not None
        for link in (first, second):
            links.change(link, Change(quiet=True, up=True))
            set_offloads(link.name, False, name)
        yield name
    finally:
        channel.close()
        namespace.delete(name)


def test_a_checksum_that_the_kernel_finishes_to_zero_is_right(pair: str) -> None:
    """One pure ACK in 65,536 is such a one; the kernel sends 0xffff (net/core/dev.c, skb_checksum_help)."""
    frame = zero_sum(twin=False)
    pseudo = ~checksum(V4.encode(6, 20)) & 0xFFFF
    unfinished = frame[:50] + pseudo.to_bytes(2, "big") + frame[52:]
    assert wrong_checksums(dissect(unfinished)) == ("tcp",)
    with (
        socket_in(pair, socket.AF_PACKET, socket.SOCK_RAW) as sender,
        socket_in(pair, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as receiver,
    ):
        sender.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
        sender.bind(("one", 0))
        receiver.bind(("two", 0x0800))
        receiver.settimeout(20)
        sender.send(Offload(flags=NEEDS_CSUM, start=34, offset=16).encode() + unfinished)
        packet = dissect(receiver.recv(2000))
    assert packet.tcp is not None
    assert packet.tcp.checksum in (0, 0xFFFF)
    assert wrong_checksums(packet) == ()
