"""What this host says of itself: the device that holds the VTEP address, its MTU, all addresses, what is missing."""

from __future__ import annotations

import ipaddress

import weft
from weft.l2.kernel.host import Host
from weft.model.node import DatapathKind, Facts
from weft.netlink import probe


def facts(host: Host, node: str, vtep: str) -> Facts:
    addresses = host.addresses.dump()
    ips = {index: [str(ipaddress.ip_interface(text).ip) for text in texts] for index, texts in addresses.items()}
    holder = next((index for index, texts in ips.items() if vtep in texts), None)
    link = host.links.get_index(holder) if holder is not None else None
    return Facts(
        node=node,
        version=weft.__version__,
        datapath=DatapathKind.KERNEL,
        interface=link.name if link else None,
        underlay_mtu=link.mtu if link else None,
        addresses=tuple(ip for texts in ips.values() for ip in texts if not _loopback(ip)),
        missing=dict(probe.missing()),
    )


def _loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    return address.is_loopback or address.is_link_local
