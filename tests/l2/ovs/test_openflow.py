"""OpenFlow messages in and out of octets; none of them raises anything, whatever they are."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from weft.l2.ovs import openflow
from weft.l2.ovs.openflow import Message, PacketIn, Stream

FRAME = bytes.fromhex("ffffffffffff0200000000aa0806") + bytes(28)


def prop(kind: int, octets: bytes) -> bytes:
    return struct.pack(">HH", kind, 4 + len(octets)) + octets + bytes(-(4 + len(octets)) % 8)


def packet_in(*properties: bytes) -> bytes:
    return struct.pack(">II", 0x2320, 30) + b"".join(properties)


def test_a_frame_comes_with_what_its_flow_told_and_where_it_came_from() -> None:
    port, ipv4 = bytes.fromhex("00000002 0002"), bytes.fromhex("00013e04 c0a8210d")
    told = prop(7, bytes.fromhex("12b500001388"))
    whole = packet_in(prop(0, FRAME), prop(4, bytes(8)), prop(6, port + ipv4), told)
    assert openflow.packet_in(whole) == PacketIn(FRAME, bytes.fromhex("12b500001388"), "192.168.33.13")
    six = bytes.fromhex("0001da10 20010db8000000000000000000000002")
    assert openflow.packet_in(packet_in(prop(0, FRAME), prop(6, six))) == PacketIn(FRAME, b"", "2001:db8::2")
    assert openflow.packet_in(packet_in(prop(0, FRAME))) == PacketIn(FRAME, b"", None)
    assert openflow.packet_in(packet_in(told)) is None, "there is no frame in it"


def test_a_frame_goes_to_ports_with_its_tunnel_id() -> None:
    sent = openflow.packet_out(FRAME, [2, 3], 5000)
    (message,) = Stream().feed(sent)
    assert (message.kind, message.body[:8].hex()) == (13, "ffffffffffff0020")
    assert message.body[8:40].hex() == "ffff001000002320000200000000138800000008000200000000000800030000"
    assert message.body[40:] == FRAME


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 7))
def test_messages_come_out_of_any_pieces(bodies: list[bytes], piece: int) -> None:
    octets = b"".join(Message(number, body, number).encode() for number, body in enumerate(bodies))
    stream = Stream()
    pieces = [octets[at : at + piece] for at in range(0, len(octets), piece)]
    found = [message for each in pieces for message in stream.feed(each)]
    assert found == [Message(number, body, number) for number, body in enumerate(bodies)]


@given(st.binary(max_size=200))
def test_no_octets_raise_anything(octets: bytes) -> None:
    assert sum(len(message.encode()) for message in Stream().feed(octets)) <= len(octets)
    assert len(list(openflow.changed_flows(octets))) <= len(octets)
    for found in (openflow.packet_in(octets), openflow.packet_in(struct.pack(">II", 0x2320, 30) + octets)):
        assert found is None or found.frame in octets
