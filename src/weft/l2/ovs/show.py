"""Flows for people: each with our names beside its numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from weft.l2.ovs.flows import OWNER_MASK, Flow, Held, Ports, owner
from weft.model.network import SegmentKey

_PORT = re.compile(r"\b(in_port=|output:)(\d+)")
_TAG = re.compile(r"\b(dl_vlan=|mod_vlan_vid:)(\d+)")
_MAC = re.compile(r"dl_(?:dst|src)=([0-9a-f:]{17})(?![/0-9a-f])")
_NOTED = re.compile(r"(?:note:|mod_dl_src:)([0-9a-f.:]{17})")


def rows(
    counted: Iterable[tuple[Flow, int, int, int]], held: Mapping[SegmentKey, Held], ports: Ports, cluster: str
) -> list[dict[str, str]]:
    """Flows of br-tun as rows of text, in the order in which a packet meets them. `mac`: whom it is about; `to`: the
    VTEP it leads to, if it is one."""
    vteps = {number: vtep for (_, vtep), number in ports.tunnels.items()}
    ends = {ports.patch: "br-int"} | vteps
    networks = {each.tag: each.segment.network for each in held.values()}
    by_vni = {key.vni: each.segment.network for key, each in held.items()}
    found = []
    for flow, packets, octets, age in sorted(counted, key=lambda each: (each[0].table, -each[0].priority, each[0])):
        whose = flow.cookie & OWNER_MASK
        ours = {owner(cluster): "put", owner(cluster, learned=True): "learned"}.get(whose, "foreign")
        mac = _MAC.search(flow.match) or (_NOTED.search(flow.actions) if flow.table > 20 else None)
        outputs = [vteps[int(each)] for _, each in _PORT.findall(flow.actions) if int(each) in vteps]
        found.append(
            {
                "table": str(flow.table),
                "priority": str(flow.priority),
                "network": by_vni.get(flow.cookie & ~OWNER_MASK, "") if ours != "foreign" else "",
                "mac": mac[1].replace(".", ":") if mac else "",
                "to": outputs[0] if len(outputs) == 1 else "",
                "packets": str(packets),
                "octets": str(octets),
                "age": str(age),
                "owner": ours,
                "match": _named(flow.match, ends, networks) or "any",
                "actions": _named(flow.actions, ends, networks),
            }
        )
    return found


def _named(text: str, ends: Mapping[int, str], networks: Mapping[int, str]) -> str:
    text = _PORT.sub(lambda found: _beside(found, ends), text)
    return _TAG.sub(lambda found: _beside(found, networks), text)


def _beside(found: re.Match[str], names: Mapping[int, str]) -> str:
    name = names.get(int(found[2]))
    return f"{found[0]}[{name}]" if name else found[0]
