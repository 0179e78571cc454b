"""Segments: the bridges that all of them share, and a record of each in br-tun's external-ids, with its local tag.

Flows are lost when ovs-vswitchd ends; the database is not, so it is the record that says which segments are here.
br-int switches between local ports by itself (fail-mode standalone), also when nobody tells it anything; br-tun does
what flows say and nothing else (secure).

Isolated ports (`arp: proxy`) are `protected` ones of br-int, which exchange no frames. The patch is one as well:
nothing passes between them and tunnels, and for all other ports it makes no difference. Its end in br-tun is not, as
what is answered there goes back where it came from.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from weft.l2.ovs import ovsdb
from weft.l2.ovs.flows import OWNER_MASK, Flow, owner, segments_of
from weft.l2.ovs.ofctl import Ofctl
from weft.l2.ovs.ovsdb import Bridge, Operation
from weft.l2.ovs.switch import INTEGRATION, TUNNELS, Snapshot, Switch
from weft.model.errors import Kind, WeftError
from weft.model.network import Arp, SegmentKey
from weft.plan.segment import Segment

PATCH_TO_TUNNELS, PATCH_TO_INTEGRATION = "patch-tun", "patch-int"
TAG_MAX = 4094
_KEY = "weft-segment/"
_MACS = "100000"  # that br-int remembers; its default of 8192 would flood what is beyond
_STANDALONE = Flow(0, 0, "", "NORMAL")  # what makes a bridge of fail-mode standalone switch
_BRIDGES = ((INTEGRATION, PATCH_TO_TUNNELS, "standalone"), (TUNNELS, PATCH_TO_INTEGRATION, "secure"))


def check(segment: Segment) -> None:
    """Raises UNSUPPORTED for what this datapath cannot be."""
    where = f"network {segment.network}"
    if segment.group:
        what = f"Open vSwitch receives no group packets, so that nothing sent to {segment.group} would arrive"
        remedy = "use `flood: ingress-replication`, or `datapath: kernel` on this node"
        raise WeftError(Kind.UNSUPPORTED, what, where=where, remedy=remedy)


def put_bridges(switch: Switch, bridges: dict[str, Bridge]) -> list[Operation]:
    """What makes br-int and br-tun, and the patch between them, as stated. Raises FAILED for foreign bridges."""
    operations: list[Operation] = []
    patches = {INTEGRATION: PATCH_TO_INTEGRATION, TUNNELS: PATCH_TO_TUNNELS}
    for name, patch, fail_mode in _BRIDGES:
        bridge = switch.own(bridges, name)
        columns: dict[str, Any] = {"datapath_type": _type(switch), "fail_mode": fail_mode}
        if bridge is None:
            columns |= {"external_ids": switch.mark("bridge", name), "other_config": {"mac-table-size": _MACS}}
            operations += ovsdb.add_bridge(name, {}, **columns)
        elif bridge.datapath_type != columns["datapath_type"] or bridge.fail_mode != fail_mode:
            operations.append(ovsdb.update("Bridge", bridge.uuid, **columns))
        protected = name == INTEGRATION
        stated = {"type": "patch", "options": {"peer": patches[name]}}
        found = bridge.ports.get(patch) if bridge else None
        if found is None:
            uuid = bridge.uuid if bridge else ovsdb.named(name)
            columns = {"external_ids": switch.mark("patch", patch), "protected": protected}
            operations += ovsdb.add_port(uuid, patch, columns, stated)
        else:
            for interface in found.interfaces:
                if interface.options != stated["options"] or interface.type != "patch":
                    operations.append(ovsdb.update("Interface", interface.uuid, **stated))
            if found.tag is not None or found.protected is not protected:
                operations.append(ovsdb.update("Port", found.uuid, tag=(), protected=protected))
    return operations


def bridge_flaws(switch: Switch, snapshot: Snapshot) -> list[str]:
    """What is wrong with the bridges that all segments share."""
    if put_bridges(switch, snapshot.bridges):
        return ["br-int, br-tun or the patch between them is not as it should be"]
    return [] if patch(snapshot.bridges) is not None else ["the patch between br-int and br-tun is not open"]


def patch(bridges: dict[str, Bridge]) -> int | None:
    """The OpenFlow number of br-tun's port towards br-int."""
    bridge = bridges.get(TUNNELS)
    port = bridge.ports.get(PATCH_TO_INTEGRATION) if bridge else None
    return port.interfaces[0].ofport if port and port.interfaces else None


def _type(switch: Switch) -> str:
    return "netdev" if switch.userspace else "system"


def drop_bridges(switch: Switch, bridges: dict[str, Bridge]) -> list[Operation]:
    """What removes our bridges; one in which somebody else has a port or a flow stays, and loses what is ours."""
    operations: list[Operation] = []
    for name in (INTEGRATION, TUNNELS):
        bridge = bridges.get(name)
        if bridge is None or switch.ours(bridge.external_ids, "bridge") is None:
            continue
        ours = [port for port in bridge.ports.values() if port.external_ids.get("weft")]
        if len(bridge.ports) == len(ours) + 1 and not _foreign_flows(switch, name):  # and the bridge's own
            operations.append(ovsdb.drop_bridge(bridge))
        else:
            operations += [ovsdb.drop_port(bridge.uuid, port) for port in ours]
            operations.append(ovsdb.drop_keys("Bridge", bridge.uuid, "external_ids", ["weft"]))
    return operations


def _foreign_flows(switch: Switch, bridge: str) -> bool:
    """Whether a bridge of ours has flows that neither we nor ovs-vswitchd put there."""
    ours = {owner(switch.cluster), owner(switch.cluster, learned=True)}
    found = Ofctl(switch.rundir / f"{bridge}.mgmt").dump()
    return any(flow.cookie & OWNER_MASK not in ours and flow != _STANDALONE for flow in found)


# The record


def record(bridge: ovsdb.Uuid, segment: Segment, tag: int) -> Operation:
    told = {
        "tag": str(tag),
        "network": segment.network,
        "vtep": segment.vtep,
        "mtu": str(segment.mtu),
        "learning": "on" if segment.learning else "off",
        "age": str(segment.age),
        "arp": str(segment.arp),
        "anycast": " ".join(segment.anycast),
    }
    return ovsdb.put_keys("Bridge", bridge, "external_ids", {segments_of(segment.key): urlencode(told, safe=":")})


def forget(bridge: ovsdb.Uuid, key: SegmentKey) -> Operation:
    return ovsdb.drop_keys("Bridge", bridge, "external_ids", [segments_of(key)])


def read(switch: Switch, bridges: dict[str, Bridge]) -> dict[SegmentKey, tuple[Segment, int]]:
    """Our segments with their tags, as recorded."""
    bridge = bridges.get(TUNNELS)
    if bridge is None or switch.ours(bridge.external_ids, "bridge") is None:
        return {}
    found: dict[SegmentKey, tuple[Segment, int]] = {}
    for name, value in bridge.external_ids.items():
        if name.startswith(_KEY) and (
            entry := _entry(name.removeprefix(_KEY), dict(parse_qsl(value, keep_blank_values=True)))
        ):
            found[entry[0].key] = entry
    return found


def _entry(place: str, told: dict[str, str]) -> tuple[Segment, int] | None:
    udp_port, _, vni = place.partition("/")
    try:
        key = SegmentKey(int(udp_port), int(vni))
        age, mtu, arp = int(told["age"]), int(told["mtu"]), Arp(told["arp"])
        anycast = tuple(told.get("anycast", "").split())
        segment = Segment(key, told["network"], told["vtep"], mtu, told["learning"] == "on", age, arp, None, anycast)
        return segment, int(told["tag"])
    except (KeyError, ValueError):  # somebody else's hand: not a segment, and put anew
        return None


def free_tag(taken: set[int]) -> int:
    """The lowest local tag that is not taken. Raises FAILED past 4094 segments."""
    for tag in range(1, TAG_MAX + 1):
        if tag not in taken:
            return tag
    raise WeftError(Kind.FAILED, f"a switch carries {TAG_MAX} networks and no more", where=INTEGRATION)
