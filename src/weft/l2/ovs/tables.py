"""Rows of all segments as flows of br-tun: written as one bundle that is the difference between what is wanted and
what stands, read back from the flows themselves.

All or nothing: either every change of an apply is on the wire, or none. Flows that agree are not touched, so that their
counters grow on; learned flows stay, but for those of a segment or a tunnel that goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from weft.l2.ovs import flows
from weft.l2.ovs.flows import OWNER_MASK, Flow, Held, Ports, TunnelPort
from weft.l2.ovs.switch import Switch
from weft.model.network import SegmentKey
from weft.plan.operations import DropRows, PutRows
from weft.plan.tables import Table, Tables, keys, normalized, text


def changed(there: Tables, operation: PutRows | DropRows) -> Tables:
    """The tables after an operation."""
    table, rows = operation.table, operation.rows
    if isinstance(operation, PutRows):
        after = normalized(table, np.concatenate((there[table], rows)))
    else:
        after = there[table][~np.isin(keys(table, there[table]), keys(table, rows))]
    parts = {each.value: there[each] for each in Table} | {table.value: after}
    return Tables(**parts)


def remotes(held: Iterable[Held]) -> dict[TunnelPort, str]:
    """The tunnels that these segments need: to → from which address."""
    found: dict[TunnelPort, str] = {}
    for each in held:
        udp_port, local = each.segment.key.udp_port, each.segment.vtep
        fdb = np.unique(each.tables.fdb[["vtep_high", "vtep_low"]])
        vteps = text(Table.FLOOD, each.tables.flood) + text(Table.FLOOD, fdb)
        found |= {(udp_port, vtep): local for (vtep,) in vteps if vtep != "::"}
    return found


def wanted(held: Iterable[Held], ports: Ports, cluster: str) -> set[Flow]:
    """Every flow of br-tun that is to stand, but for learned ones."""
    held = list(held)
    programmed = any(not each.segment.learning for each in held)
    return {
        *flows.frame(ports, cluster, programmed),
        *(flow for each in held for flow in flows.segment(each, ports, cluster)),
    }


def own(found: Iterable[Flow], cluster: str) -> set[Flow]:
    """Flows that we put."""
    mine = flows.owner(cluster)
    return {flow for flow in found if flow.cookie & OWNER_MASK == mine}


def write(switch: Switch, there: set[Flow], target: set[Flow], forget: Iterable[int] = ()) -> None:
    """Makes br-tun's flows `target`; `forget`: local tags whose learned flows go. Raises WeftError."""
    put = target - there
    keys = {flow.key for flow in put}
    drop = [flow for flow in there - target if flow.key not in keys]  # to add is to replace
    learned = flows.owner(switch.cluster, learned=True)
    more = [f"delete cookie={learned:#x}/{OWNER_MASK:#x},table=20,vlan_tci={tag:#06x}/0x0fff" for tag in sorted(forget)]
    if put or drop or more:
        switch.flows.change(sorted(drop), sorted(put), more)


def forget_tunnels(switch: Switch, numbers: Iterable[int]) -> None:
    """Drops what was learned behind tunnels that go."""
    learned = flows.owner(switch.cluster, learned=True)
    lines = [f"delete cookie={learned:#x}/{OWNER_MASK:#x},table=20,out_port={number}" for number in sorted(numbers)]
    switch.flows.change((), (), lines)


def learned(rows: flows.Rows) -> Tables | None:
    """What a segment found by itself."""
    return flows.Rows(fdb=rows.learned).tables() if rows.learned else None


def flaws(
    keys: Mapping[SegmentKey, Held], there: set[Flow], target: set[Flow], wrong_tunnels: Mapping[TunnelPort, str]
) -> dict[SegmentKey, tuple[str, ...]]:
    """What is wrong with br-tun, told of the segments that suffer."""
    found: dict[SegmentKey, list[str]] = {key: [] for key in keys}
    missing, extra = target - there, there - target
    for words, wrong in (("missing in", missing), ("too many in", extra)):
        counts: dict[int, int] = {}
        for flow in wrong:
            counts[flow.cookie & ~OWNER_MASK] = counts.get(flow.cookie & ~OWNER_MASK, 0) + 1
        for key in keys:
            if number := counts.get(0, 0) + counts.get(key.vni, 0):
                found[key].append(f"{number} flows {words} br-tun")
    for remote, what in wrong_tunnels.items():
        for key, each in keys.items():
            if remote in remotes([each]):
                found[key].append(what)
    return {key: tuple(what) for key, what in found.items() if what}
