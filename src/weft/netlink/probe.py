"""What this kernel can do, found out by trying in a throwaway namespace; what is missing is named with its remedy."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from weft.model.errors import WeftError
from weft.netlink import message as m
from weft.netlink import tap
from weft.netlink.channel import Channel
from weft.netlink.links import BridgePort, Change, Link, Links, Peer, Vxlan
from weft.netlink.namespace import fresh
from weft.netlink.nft import SuppressTable

_REMEDY = {
    "vxlan": "this kernel lacks VXLAN (CONFIG_VXLAN): load the module with `modprobe vxlan`",
    "bridge": "this kernel lacks bridges (CONFIG_BRIDGE): load the module with `modprobe bridge`",
    "neigh_suppress": "this kernel's bridge cannot suppress ARP (CONFIG_BRIDGE, Linux 4.15 or later): use `arp: flood`",
    "veth": "this kernel lacks veth pairs (CONFIG_VETH): load the module with `modprobe veth`",
    "nft bridge": (
        "this kernel lacks nftables for bridges (CONFIG_NF_TABLES, CONFIG_NF_TABLES_BRIDGE): "
        "load the module with `modprobe nf_tables`, or use `arp: flood`"
    ),
}
Made = TypeVar("Made")

_DENIED = "making network namespaces is not allowed: run as root, or inside a user namespace"


@cache
def missing() -> dict[str, str]:
    """Feature → remedy for each feature that this kernel lacks or this process may not use; probed once."""
    try:
        with fresh():
            channel = Channel()
            try:
                return _probe(Links(channel))
            finally:
                channel.close()  # and with it the namespace
    except OSError:
        return {"namespace": _DENIED}


def _probe(links: Links) -> dict[str, str]:
    lacking: dict[str, str] = {}

    def attempt(feature: str, make: Callable[[], Made]) -> Made | None:
        try:
            return make()
        except (WeftError, OSError):
            lacking[feature] = _REMEDY[feature]
            return None

    bridge = attempt("bridge", lambda: links.create(Change(name="probe-bridge", kind="bridge")))
    settings = m.u32(Vxlan.ID, 1) + m.be16(Vxlan.PORT, 4789)
    vxlan = attempt("vxlan", lambda: links.create(Change(name="probe-vxlan", kind="vxlan", info=settings)))
    pair = attempt(
        "veth",
        lambda: links.create(Change(name="probe-veth", kind="veth"), Peer("probe-peer", "02:00:00:00:00:01", 1500)),
    )
    attempt("neigh_suppress", lambda: _suppress(links, bridge, vxlan or pair))
    attempt("nft bridge", _nft)
    try:
        os.close(os.open(tap.DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        lacking["tap"] = tap.denied(error, "").remedy
    return lacking


def _suppress(links: Links, bridge: Link | None, port: Link | None) -> None:
    if bridge is None or port is None:
        raise OSError
    links.change(port, Change(master=bridge.index))
    links.change(port, Change(port=m.u8(BridgePort.NEIGH_SUPPRESS, 1)))


def _nft() -> None:
    table = SuppressTable("weft-probe")
    try:
        table.add("probe")
    finally:
        table.close()
