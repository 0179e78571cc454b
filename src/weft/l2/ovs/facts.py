"""What this host says of itself with Open vSwitch as its datapath: as the kernel's facts, and what OVS lacks or has."""

from __future__ import annotations

import msgspec

from weft.l2.kernel import facts as kernel
from weft.l2.ovs import underlay
from weft.l2.ovs.switch import UNDERLAY, Switch
from weft.model.errors import WeftError
from weft.model.node import DatapathKind, Facts

_NEEDED = ("namespace", "veth", "tap")  # of what the kernel's datapath probes
_INSTALL = "apt-get install openvswitch-switch, and start it: Weft drives the system's own Open vSwitch"
_TAP = "ovs-vswitchd, forwarding by itself, makes its own ports with /dev/net/tun, which is closed to this user"


def facts(switch: Switch, node: str, vtep: str) -> Facts:
    """Groups are not received: it listens on its unicast address only."""
    found = kernel.facts(switch.host, node, vtep)
    missing = {name: remedy for name, remedy in found.missing.items() if name in _NEEDED}
    if "tap" in missing and switch.userspace:
        missing["openvswitch"] = _TAP
    mtu = found.underlay_mtu
    try:
        nic = underlay.nic(switch, switch.db.bridges())
    except WeftError as error:
        missing["ovs"] = error.remedy or _INSTALL
    else:
        link = switch.host.links.get(nic) if nic and found.interface == UNDERLAY else None
        mtu = link.mtu if link else mtu
    return msgspec.structs.replace(
        found, datapath=DatapathKind.OVS, underlay_mtu=mtu, receives_groups=False, missing=missing
    )
