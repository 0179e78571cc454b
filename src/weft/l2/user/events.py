"""Someone touched ours: told by the forwarder, and by the kernel where ports end.

The forwarder tells that a device is gone or that itself ends. That a port's device was set down, or its MAC, MTU or
addresses changed, rtnetlink tells in the namespace of the end point, for which the host's namespace gets an id
(weft.netlink.nsid). That the namespace lost its name, nobody tells there, the less as our device keeps it alive: mounts
are watched for that (weft.netlink.mounts). Addresses of the host's own devices change what it says of itself.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterable, Iterator

from weft.l2.datapath import Event
from weft.l2.kernel.events import HERE, Ours, Place
from weft.l2.kernel.events import Events as KernelEvents
from weft.l2.user.client import Client
from weft.model.errors import WeftError
from weft.model.network import SegmentKey
from weft.netlink import mounts, namespace, nsid
from weft.netlink.channel import Channel, NetlinkError

Device = tuple[str | None, str, SegmentKey]
"""The namespace that a port's device is in (None: the host's), its name there, and the port's segment."""


class Events:
    """`host`: the host's namespace, None for the process's own. `learn` is told what stands by whoever observes."""

    def __init__(self, cluster: str, host: str | None, client: Client) -> None:
        self._host, self._client = host, client
        self._kernel = KernelEvents(cluster, host)
        self._homes: dict[tuple[str, SegmentKey], tuple[int, int] | None] = {}
        self._mounts = mounts.Mounts()
        self._poll = select.epoll()
        self._poll.register(self._mounts, mounts.EVENTS)
        for fd in (self._kernel.fileno(), client.events_fd()):
            self._poll.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        self._client.events_fd()  # a forwarder may have been started
        return self._poll.fileno()

    def close(self) -> None:
        self._poll.close()
        self._mounts.close()
        self._kernel.close()

    def learn(self, devices: Iterable[Device], underlay: int) -> None:
        """Devices of local ports, and the index of the device that holds the VTEP address (0: none is known)."""
        devices = tuple(devices)
        self._homes = {(where, key): namespace.identity(where) for where, _, key in devices if where is not None}
        self._kernel.learn(Ours(dict(self._places(devices))))
        self._kernel.underlay = underlay

    def read(self) -> list[Event]:
        """What has come since the last call; never blocks."""
        return [*self._client.events(), *self._kernel.read(), *self._moved_out()]

    def _moved_out(self) -> list[Event]:
        """Namespaces whose names went, or mean others by now; told once."""
        found = []
        for (where, key), before in self._homes.items():
            if (now := namespace.identity(where)) != before:
                self._homes[where, key] = now
                found.append(Event(f"namespace {where}: gone", key))
        return found

    def _places(self, devices: Iterable[Device]) -> Iterator[tuple[Place, SegmentKey]]:
        """Where the devices are; one that is gone meanwhile, the forwarder tells of."""
        channel = Channel(namespace=self._host)
        try:
            for where, name, key in devices:
                with contextlib.suppress(WeftError, OSError, NetlinkError):
                    yield self._place(channel, where, name), key
        finally:
            channel.close()

    def _place(self, channel: Channel, where: str | None, name: str) -> Place:
        """Raises WeftError, OSError, NetlinkError."""
        if where is None:
            with namespace.entered(self._host):
                return HERE, socket.if_nametoindex(name)
        with namespace.opened(where) as fd:
            with namespace.entered(fd):
                index = socket.if_nametoindex(name)
            return nsid.known_as(channel, fd), index
