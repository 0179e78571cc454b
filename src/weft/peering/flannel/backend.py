"""What a backend is to the daemon: it carries packets for the leases of others, and says what goes into its own.

The daemon alone decides when; a backend makes true what it is told, keeps it true, and knows nothing of etcd. Calls
come one at a time, out of the daemon's event loop. An error is a `WeftError`; whatever could be done is done then, and
the next call, or `check`, tries the rest again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from weft.peering.flannel.lease import BackendData, Lease

__all__ = ["Backend", "BackendData", "External", "Lease"]


@dataclass(frozen=True, slots=True)
class External:
    """The device of this host that leads to the others: its addresses, and those it is reached by (`public`), which
    differ behind a NAT; `mtu` in octets of IP packet."""

    name: str
    index: int
    mtu: int
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    public: IPv4Address | None = None
    public6: IPv6Address | None = None


class Backend(Protocol):
    """A backend is made with (`NetworkConfig`, `External`, the namespace it works in), and touches nothing until
    `start`."""

    notes: dict[str, str]
    """Leases that must not be followed, by key, and why."""

    @property
    def mtu(self) -> int:
        """Of the packets that containers may send, in octets."""
        ...

    def lease_data(self, previous: Lease | None) -> BackendData:
        """What the lease of this node is to say. `previous`: what it says now, if there is one; what peers know of us
        (a VTEP MAC) is kept where that can be."""
        ...

    async def start(self, own: Lease, external: External) -> None:
        """Makes this node's own side, or changes it where the lease or the underlay's address is another one now.

        What is there already and right is taken over as it is: no packet is lost.
        """
        ...

    async def set_peers(self, leases: Sequence[Lease]) -> None:
        """The leases of all others, the whole truth: what is there and not of these goes. In any order, and leases
        that are not this backend's to serve are among them."""
        ...

    async def apply_events(self, added: Sequence[Lease], removed: Sequence[Lease]) -> None:
        """Leases that came or changed, and those that went (by their subnets; what else they say is the last known),
        since the last call; costs what changed. `set_peers` of all that hold then comes to the same."""
        ...

    async def touched(self) -> None:
        """Returns when somebody else may have changed what is ours; `check` is called then."""
        ...

    async def check(self) -> Sequence[str]:
        """Compares with what is there and repairs; what was repaired, in words, nothing if all was well."""
        ...

    async def close(self, *, clean: bool = False) -> None:
        """Lets go, and leaves forwarding as it is where that can be; `clean`: removes everything of ours."""
        ...
