"""Frames that tunnels bring and that go no further than to us: br-tun sends them up by OpenFlow.

A flow of table 2 names the segment in its userdata (weft.l2.ovs.flows); ovs-vswitchd adds the VTEP that sent it. It
keeps at most 1024 such frames, and 100 on their way to one connection, and drops what is beyond
(ofproto_dpif_send_async_msg in ofproto/ofproto-dpif.c, do_send_packet_ins in ofproto/connmgr.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weft.l2.datapath import Punted
from weft.l2.ovs.connection import Connection
from weft.l2.ovs.flows import CONTROLLER, segment_told
from weft.l2.ovs.openflow import VENDOR, ask_for_packets, packet_in
from weft.l2.ovs.switch import TUNNELS
from weft.model.errors import WeftError


class TunnelPunt:
    """One connection to br-tun while it is wanted; `connect` is tried by whoever has a clock."""

    def __init__(self, rundir: Path) -> None:
        self._bridge = rundir / f"{TUNNELS}.mgmt"
        self._connection: Connection | None = None

    def connect(self) -> int | None:
        """The descriptor of a connection that is new, None where there is one already or nobody answers."""
        if self._connection is not None:
            return None
        try:
            self._connection = Connection(self._bridge, ask_for_packets(CONTROLLER))
        except WeftError:  # there is no segment yet, or ovs-vswitchd is being restarted
            return None
        return self._connection.fileno()

    def read(self) -> Iterator[Punted]:
        """What has come, a bounded part of it; never blocks. A connection that broke is closed."""
        messages = self._connection.read(1) if self._connection else []
        if messages is None:
            self.close()
        for message in messages or ():
            found = packet_in(message.body) if message.kind == VENDOR else None
            key = segment_told(found.userdata) if found else None
            if found and key:
                yield Punted(key, found.frame, vtep=found.source)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()  # which takes it out of every poll as well
            self._connection = None
