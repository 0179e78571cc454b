"""Someone touched ours: heard from the database (RFC 7047, monitor), from br-tun (flow monitor) and from the kernel.

A restarted ovs-vswitchd has no flows and bare internal ports. Its connection to us breaks with it, and is tried again
every tenth of a second; once it stands, everything is to be observed anew. What the kernel learns of next hops is no
event: it is told to ovs-vswitchd here and now (weft.l2.ovs.next_hops).
"""

from __future__ import annotations

import select
from collections.abc import Mapping
from pathlib import Path

from weft.l2.datapath import Event
from weft.l2.kernel.events import HERE, Ours
from weft.l2.kernel.events import Events as KernelEvents
from weft.l2.kernel.host import Host
from weft.l2.ovs.flow_monitor import FlowMonitor
from weft.l2.ovs.flows import OWNER_MASK, owner
from weft.l2.ovs.next_hops import NextHops
from weft.l2.ovs.ovsdb import Ovsdb
from weft.l2.ovs.switch import TUNNELS
from weft.l2.ovs.timer import Timer
from weft.model.errors import WeftError
from weft.model.network import SegmentKey

_AGAIN = 0.1  # seconds between two attempts to connect


class Events:
    """`learn` is told what is ours by whoever observes."""

    def __init__(self, rundir: Path, host: Host, next_hops: NextHops) -> None:
        self._rundir = rundir
        self._next_hops = next_hops
        self._owner = owner(host.cluster)
        self._kernel = KernelEvents(host.cluster, host.namespace, host.bulk.port, host.table)
        self._poll = select.epoll()
        self._timer = Timer(_AGAIN)
        self._database: Ovsdb | None = None
        self._flows: FlowMonitor | None = None
        self._poll.register(self._kernel.fileno(), select.EPOLLIN)
        self._poll.register(self._timer.fileno(), select.EPOLLIN)
        if (news := next_hops.listen()) is not None:
            self._poll.register(news, select.EPOLLIN)
            next_hops.tell()  # what came before anybody listened
        self._connect()

    def fileno(self) -> int:
        return self._poll.fileno()

    def close(self) -> None:
        for opened in (self._kernel, self._database, self._flows, self._timer):
            if opened is not None:
                opened.close()
        self._poll.close()

    def learn(self, devices: Mapping[int, SegmentKey], underlay: int) -> None:
        """Devices of local ports by index, and the index of the device that holds the VTEP address."""
        self._kernel.learn(Ours({(HERE, index): key for index, key in devices.items()}))
        self._kernel.underlay = underlay

    def read(self) -> list[Event]:
        """What has come since the last call, each thing once; never blocks."""
        found = dict.fromkeys(self._kernel.read())
        self._next_hops.read()
        if self._timer.expired() and self._connect():
            self._next_hops.tell()
            found[Event("Open vSwitch answers again")] = None
        if self._database is not None:
            changed = self._database.changed()
            if changed is None:
                self._lose(self._database)
                self._database = None
                found[Event("the database of Open vSwitch is gone")] = None
            elif changed:
                found[Event("bridges or ports changed")] = None
        if self._flows is not None:
            cookies = self._flows.read()
            if cookies is None:
                self._lose(self._flows)
                self._flows = None
                found[Event("br-tun, or ovs-vswitchd, is gone")] = None
            elif any(cookie & OWNER_MASK == self._owner for cookie in cookies):
                found[Event("flows changed")] = None
        return list(found)

    def settle(self) -> None:
        """Forgets what our own writing of flows was answered with."""
        if self._flows is not None and self._flows.read() is None:
            self._lose(self._flows)
            self._flows = None

    def _connect(self) -> bool:
        """True where something answers that did not; sets the timer where something does not."""
        came = False
        if self._database is None:
            try:
                self._database = Ovsdb(self._rundir / "db.sock")
                self._database.monitor(("Bridge", "Port", "Interface"))
            except WeftError:
                self._database = None
            else:
                self._poll.register(self._database.fileno(), select.EPOLLIN)
                came = True
        if self._flows is None:
            try:
                self._flows = FlowMonitor(self._rundir / f"{TUNNELS}.mgmt")
            except (WeftError, OSError):
                self._flows = None
            else:
                self._poll.register(self._flows.fileno(), select.EPOLLIN)
                came = True
        if self._database is None or self._flows is None:
            self._timer.start()
        return came

    def _lose(self, opened: Ovsdb | FlowMonitor) -> None:
        opened.close()  # which takes it out of the poll as well
        self._timer.start()
