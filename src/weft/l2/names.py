"""The name law: what our devices are called, and how they are told from everybody else's.

    wb<VNI>            bridge of a segment                 wb5000
    wx<VNI>            its vxlan device                    wx5000
    wb<VNI>.<port>     the same where the UDP port is not 4789, in hex: wb1.2118
    wp-<port name>     host side of a port's veth pair; wp~<hash> where the name is too long or not clean

A device is ours if its name follows the law and its alias is weft:<cluster>/<kind>/<name> with our cluster; after a
space the alias carries details that cannot be read off the device itself: weft:default/port/a segment=5000 attach=….
Bridges and vxlan devices are ours under any name if their alias says which device it was written for, by lawful name
and interface index (made=wb5000/12): an index is one device's, so an alias copied to another makes nothing ours.
Anything else is never touched.
"""

from __future__ import annotations

import hashlib
import re

from weft.model.address import UDP_PORT_VXLAN, VNI_MAX
from weft.model.network import SegmentKey
from weft.netlink.alias import Alias, DeviceKind, parse_alias, random_mac

__all__ = [
    "Alias",
    "DeviceKind",
    "bridge",
    "key_of",
    "lawful",
    "mark",
    "parse_alias",
    "random_mac",
    "renamed",
    "veth",
    "vxlan",
]

_MAX = 15  # IFNAMSIZ - 1
_SEGMENT = re.compile(r"w[bx]([1-9][0-9]{0,7})(?:\.([1-9a-f][0-9a-f]{0,3}))?")
_CLEAN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def bridge(key: SegmentKey) -> str:
    return "wb" + _segment(key)


def vxlan(key: SegmentKey) -> str:
    return "wx" + _segment(key)


def _segment(key: SegmentKey) -> str:
    return str(key.vni) if key.udp_port == UDP_PORT_VXLAN else f"{key.vni}.{key.udp_port:x}"


def key_of(name: str) -> SegmentKey | None:
    """The segment that a bridge's or vxlan device's name stands for; None for any other name."""
    found = _SEGMENT.fullmatch(name)
    if not found or int(found[1]) > VNI_MAX:
        return None
    key = SegmentKey(int(found[2], 16) if found[2] else UDP_PORT_VXLAN, int(found[1]))
    return key if name[2:] == _segment(key) else None


def veth(cluster: str, port: str) -> str:
    """The name of the host side of a port's veth pair."""
    name = f"wp-{port}"
    if len(name) <= _MAX and _CLEAN.fullmatch(port):
        return name
    return "wp~" + hashlib.blake2s(f"{cluster}/{port}".encode(), digest_size=6).hexdigest()


def lawful(name: str, alias: Alias) -> bool:
    """Whether a device of this name is what the alias says; a copied alias makes nothing ours."""
    if alias.kind is DeviceKind.PORT:
        made = alias.details.get("attach") == "namespace"
        return name == (veth(alias.cluster, alias.name) if made else alias.details.get("target"))
    key = key_of(name)
    return key is not None and name == (bridge(key) if alias.kind is DeviceKind.NETWORK else vxlan(key))


def mark(name: str, index: int) -> dict[str, str]:
    """The detail by which an alias is this device's and no other's."""
    return {"made": f"{name}/{index}"}


def renamed(name: str, index: int, alias: Alias) -> str | None:
    """The name that a device was given by us, where it has another one now; None without proof that it is ours."""
    was, _, number = alias.details.get("made", "").rpartition("/")
    proven = was != name and number == str(index) and alias.kind is not DeviceKind.PORT and lawful(was, alias)
    return was if proven else None
