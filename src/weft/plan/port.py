"""A local port: what is plugged into a segment on this node."""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.network import SegmentKey
from weft.model.port import Attach


def port_of(router: str, network: str) -> str:
    """The port that a router's IRB in a network is; no declared port can have a name with a slash."""
    return f"{router}/{network}"


@dataclass(frozen=True, slots=True)
class LocalPort:
    """`mac` and `addresses` (IP with prefix length) are those of the end point behind the port.

    Weft sets them on the device where the device is its own making (host, namespace); it cannot look into a virtual
    machine or behind an interface, and takes them as declared there. `mtu`: as the segment's. `gateways`: where the
    end point's default routes lead, one a family. `isolated`: it exchanges frames with ports that are not, such as a
    router's, and with no other (`arp: proxy`).
    """

    name: str
    segment: SegmentKey
    attach: Attach
    mac: str
    addresses: tuple[str, ...]
    mtu: int
    gateways: tuple[str, ...] = ()
    isolated: bool = False
