"""What this host says of itself under the user datapath; each feature it lacks, with what happens instead."""

from __future__ import annotations

import ipaddress
import os

import weft
from weft.l2.user import receiver
from weft.model.node import DatapathKind, Facts
from weft.netlink import outside, tap
from weft.netlink.addresses import Addresses
from weft.netlink.channel import Channel
from weft.netlink.links import Links

_SLOWER = {  # feature → what it costs, remedy
    "UDP_SEGMENT": ("every datagram that is sent costs a system call", "Linux 4.18 or later"),
    "UDP_GRO": ("every datagram that is received costs a system call", "Linux 5.0 or later"),
    "tap": ("ports are veth pairs, whose frames are copied once more", f"open {tap.DEVICE} to this user"),
    "room": ("bursts beyond what a socket may hold are lost", f"sysctl net.core.rmem_max={receiver.ROOM}"),
}


def facts(node: str, vtep: str, namespace: str | None) -> Facts:
    channel = Channel(namespace=namespace, lender=outside.lender())
    try:
        addresses = Addresses(channel).dump()
        ips = {index: [str(ipaddress.ip_interface(text).ip) for text in texts] for index, texts in addresses.items()}
        holder = next((index for index, texts in ips.items() if vtep in texts), None)
        link = Links(channel).get_index(holder) if holder is not None else None
    finally:
        channel.close()
    return Facts(
        node=node,
        version=weft.__version__,
        datapath=DatapathKind.USER,
        interface=link.name if link else None,
        underlay_mtu=link.mtu if link else None,
        addresses=tuple(ip for texts in ips.values() for ip in texts if not _own(ip)),
        missing=missing(),
    )


def missing() -> dict[str, str]:
    """Feature → what to do. Without TAP devices, namespaces are attached by veth pairs."""
    try:
        os.close(os.open(tap.DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return {"tap": tap.denied(error, "").remedy}
    return {}


def slower() -> dict[str, tuple[str, str]]:
    """Feature that this host lacks, and that only costs speed → what happens without it, and the remedy."""
    here = receiver.offers() | {"tap": "tap" not in missing()}
    return {name: _SLOWER[name] for name, there in here.items() if not there}


def _own(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    return address.is_loopback or address.is_link_local
