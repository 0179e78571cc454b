"""An OpenFlow 1.0 connection to a bridge, for one thing: to be told when flows come, go or change (NXST_FLOW_MONITOR).

It ends when ovs-vswitchd does, which is how a restart is noticed at once. Everything else goes by `ovs-ofctl`.
OpenFlow 1.0, section 5; include/openflow/nicira-ext.h of Open vSwitch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from weft.l2.ovs.rpc import connect

_VERSION = 1
_HELLO, _ECHO_REQUEST, _ECHO_REPLY, _STATS_REQUEST, _STATS_REPLY = 0, 2, 3, 16, 17
_HEADER = struct.Struct(">BBHI")  # version, type, length, transaction
_VENDOR_STATS = struct.Struct(">HHIII")  # 0xffff, flags, vendor, subtype, padding
_NICIRA, _FLOW_MONITOR = 0x2320, 2
_MONITOR = struct.Struct(">IHHHB5x")  # id, flags, out port, length of match, table
_ADD, _DELETE, _MODIFY, _ANY_PORT, _ALL_TABLES = 2, 4, 8, 0xFFFF, 0xFF
_EVENT = struct.Struct(">HHHHHHHBxQ")  # length, event, reason, priority, idle, hard, match length, table, cookie
_ABBREVIATED = 3


class FlowMonitor:
    """Raises UNREACHABLE where there is no such bridge."""

    def __init__(self, bridge: Path) -> None:
        self.socket = connect(bridge, None)
        self._octets = b""
        body = _VENDOR_STATS.pack(0xFFFF, 0, _NICIRA, _FLOW_MONITOR, 0)
        body += _MONITOR.pack(1, _ADD | _DELETE | _MODIFY, _ANY_PORT, 0, _ALL_TABLES)
        self.socket.sendall(_message(_HELLO, b"") + _message(_STATS_REQUEST, body))
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()

    def read(self) -> list[int] | None:
        """Cookies of flows that changed since the last call, never waits; None: the bridge, or the switch, is gone."""
        while True:
            try:
                octets = self.socket.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError:
                return None
            if not octets:
                return None
            self._octets += octets
        return list(self._cookies())

    def _cookies(self) -> Iterator[int]:
        while len(self._octets) >= _HEADER.size:
            _, kind, length, transaction = _HEADER.unpack_from(self._octets)
            if len(self._octets) < length or length < _HEADER.size:
                return
            body, self._octets = self._octets[_HEADER.size : length], self._octets[length:]
            if kind == _ECHO_REQUEST:
                self.socket.send(_message(_ECHO_REPLY, body, transaction))
            elif kind == _STATS_REPLY and len(body) >= _VENDOR_STATS.size:
                yield from _events(body[_VENDOR_STATS.size :])


def _events(octets: bytes) -> Iterator[int]:
    while len(octets) >= 4:
        length, event = struct.unpack_from(">HH", octets)
        if event != _ABBREVIATED and len(octets) >= _EVENT.size:
            yield _EVENT.unpack_from(octets)[-1]
        octets = octets[max(length, 4) :]


def _message(kind: int, body: bytes, transaction: int = 1) -> bytes:
    return _HEADER.pack(_VERSION, kind, _HEADER.size + len(body), transaction) + body
