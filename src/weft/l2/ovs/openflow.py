"""OpenFlow 1.0 as much as is spoken here, with Nicira's extensions: messages in and out of octets. Sans-IO.

Asked for: news of flows (NXST_FLOW_MONITOR), and frames that a flow's `controller(id=…,userdata=…)` sends us
(NXT_PACKET_IN2), each with the flow's userdata and the VTEP it came from. Sent: frames, by the ports that are named
(OFPT_PACKET_OUT). A connection to a bridge's management socket gets packet-ins once it has set a length for them, and
those of its controller id alone (connmgr.c of Open vSwitch, ofconn_receives_async_msg).

OpenFlow 1.0, section 5; include/openflow/nicira-ext.h, include/openvswitch/ofp-msgs.h and lib/ofp-actions.c.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, VENDOR, STATS_REPLY = 0, 1, 2, 3, 4, 17
_SET_CONFIG, _PACKET_OUT, _STATS_REQUEST = 9, 13, 16
_VERSION = 1
_HEADER = struct.Struct(">BBHI")  # version, type, length, transaction
_NICIRA = 0x2320
_VENDOR = struct.Struct(">II")  # vendor, subtype
_SET_PACKET_IN_FORMAT, _SET_CONTROLLER_ID, _PACKET_IN2 = 16, 20, 30
_PACKET, _METADATA, _USERDATA = 0, 6, 7  # properties of NXT_PACKET_IN2
_TUN_IPV4_SRC, _TUN_IPV6_SRC = 0x0001_0000 | 31 << 9 | 4, 0x0001_0000 | 109 << 9 | 16  # NXM headers
_VENDOR_STATS = struct.Struct(">HHIII")  # 0xffff, flags, vendor, subtype, padding
_FLOW_MONITOR = 2
_MONITOR = struct.Struct(">IHHHB5x")  # id, flags, out port, length of match, table
_ADD, _DELETE, _MODIFY, _ANY_PORT, _ALL_TABLES = 2, 4, 8, 0xFFFF, 0xFF
_EVENT = struct.Struct(">HHHHHHHBxQ")  # length, event, reason, priority, idle, hard, match length, table, cookie
_ABBREVIATED = 3
_NO_BUFFER, _NO_PORT = 0xFFFF_FFFF, 0xFFFF
_OUT = struct.Struct(">IHH")  # buffer, in port, octets of actions
_SET_TUNNEL = struct.Struct(">HHIH2xI")  # 0xffff, length, vendor, subtype 2, tunnel id
_OUTPUT = struct.Struct(">HHHH")  # type 0, length, port, octets to a controller


class Message(NamedTuple):
    kind: int
    body: bytes
    transaction: int = 0

    def encode(self) -> bytes:
        return _HEADER.pack(_VERSION, self.kind, _HEADER.size + len(self.body), self.transaction) + self.body


class PacketIn(NamedTuple):
    """A frame that a flow sent us. `source`: the address of the tunnel's far end, None where it came by none."""

    frame: bytes
    userdata: bytes
    source: str | None


class Stream:
    """Messages out of octets in any pieces. `broken`: what came is no OpenFlow."""

    def __init__(self) -> None:
        self._octets = b""
        self.broken = False

    def feed(self, octets: bytes) -> list[Message]:
        """The messages that are whole now."""
        octets, found, at = self._octets + octets, [], 0
        while len(octets) - at >= _HEADER.size and not self.broken:
            _, kind, length, transaction = _HEADER.unpack_from(octets, at)
            self.broken = length < _HEADER.size
            if self.broken or len(octets) - at < length:
                break
            found.append(Message(kind, octets[at + _HEADER.size : at + length], transaction))
            at += length
        self._octets = octets[at:]
        return found


# Out


def monitor_flows() -> bytes:
    """Greets, and asks to be told when flows come, go or change."""
    body = _VENDOR_STATS.pack(0xFFFF, 0, _NICIRA, _FLOW_MONITOR, 0)
    body += _MONITOR.pack(1, _ADD | _DELETE | _MODIFY, _ANY_PORT, 0, _ALL_TABLES)
    return Message(HELLO, b"").encode() + Message(_STATS_REQUEST, body, 1).encode()


def ask_for_packets(controller: int) -> bytes:
    """Greets, and asks for the frames that flows send to this controller id."""
    what = (
        Message(HELLO, b""),
        Message(VENDOR, _VENDOR.pack(_NICIRA, _SET_PACKET_IN_FORMAT) + struct.pack(">I", 2)),
        Message(VENDOR, _VENDOR.pack(_NICIRA, _SET_CONTROLLER_ID) + struct.pack(">6xH", controller)),
        Message(_SET_CONFIG, struct.pack(">HH", 0, 0xFFFF)),
    )
    return b"".join(each.encode() for each in what)


def packet_out(frame: bytes, ports: Iterable[int], tunnel_id: int | None = None) -> bytes:
    """A frame to OpenFlow ports, as if it had come in by none."""
    actions = b"" if tunnel_id is None else _SET_TUNNEL.pack(0xFFFF, _SET_TUNNEL.size, _NICIRA, 2, tunnel_id)
    actions += b"".join(_OUTPUT.pack(0, _OUTPUT.size, port, 0) for port in ports)
    return Message(_PACKET_OUT, _OUT.pack(_NO_BUFFER, _NO_PORT, len(actions)) + actions + frame).encode()


# In


def changed_flows(body: bytes) -> Iterator[int]:
    """Cookies of the flows that a statistics reply of the monitor tells of."""
    octets = body[_VENDOR_STATS.size :]
    while len(octets) >= 4:
        length, event = struct.unpack_from(">HH", octets)
        if event != _ABBREVIATED and len(octets) >= _EVENT.size:
            yield _EVENT.unpack_from(octets)[-1]
        octets = octets[max(length, 4) :]


def packet_in(body: bytes) -> PacketIn | None:
    """What a vendor's message brings, if that is a frame; None for anything else."""
    if len(body) < _VENDOR.size or _VENDOR.unpack_from(body) != (_NICIRA, _PACKET_IN2):
        return None
    found = dict(_properties(body[_VENDOR.size :]))
    if _PACKET not in found:
        return None
    fields = dict(_fields(found.get(_METADATA, b"")))
    source = fields.get(_TUN_IPV4_SRC) or fields.get(_TUN_IPV6_SRC)
    text = str(ipaddress.ip_address(source)) if source else None
    return PacketIn(found[_PACKET], found.get(_USERDATA, b""), text)


def _properties(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and length of 16 bits each, the length without the padding to 8 octets."""
    while len(octets) >= 4:
        kind, length = struct.unpack_from(">HH", octets)
        if not 4 <= length <= len(octets):
            return
        yield kind, octets[4:length]
        octets = octets[-(-length // 8) * 8 :]


def _fields(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """NXM fields: a header of 32 bits whose last octet is the length, then the value."""
    while len(octets) >= 4:
        (header,) = struct.unpack_from(">I", octets)
        end = 4 + (header & 0xFF)
        if end > len(octets):
            return
        yield header, octets[4:end]
        octets = octets[end:]
