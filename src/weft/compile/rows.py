"""The rows of a few endpoints, so that one that moves costs its own rows and not its network's.

What `touch` makes of a plan equals what `compile_segment` would make anew; a property test says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from weft.compile.endpoints import locate, owner
from weft.compile.world import World
from weft.model.address import ip_to_words, mac_to_int
from weft.model.network import Arp, Learning, Network
from weft.model.port import AttachKind
from weft.plan import tables
from weft.plan.node import NodePlan
from weft.plan.operations import DropRows, PutRows
from weft.plan.tables import Rows, Table, Tables, chosen, difference, replaced


def touch(
    plan: NodePlan, world: World, network: Network, macs: Collection[str], ips: Collection[str]
) -> tuple[NodePlan, list[PutRows | DropRows]]:
    """`plan` with the rows of these MACs and IPs made anew, and the operations that lead there: puts, then drops."""
    old = plan.tables.get(network.key)
    if old is None or network.learning is Learning.DATA_PLANE or network.routed:
        return plan, []
    new = {Table.FDB: _fdb(plan, world, network, macs)}
    there = {Table.FDB: chosen(Table.FDB, old.fdb, ((mac_to_int(mac),) for mac in macs))}
    if network.arp is Arp.SUPPRESS:
        asked = {*ips, *_addresses(world, network, macs)}
        new[Table.NEIGHBORS] = _neighbors(plan, world, network, asked)
        there[Table.NEIGHBORS] = chosen(Table.NEIGHBORS, old.neighbors, map(ip_to_words, asked))
    puts: list[PutRows | DropRows] = []
    drops: list[PutRows | DropRows] = []
    parts = {table: old[table] for table in Table}
    for table, rows in new.items():
        change = difference(table, rows, there[table])
        if len(change.put):
            puts.append(PutRows(network.key, table, change.put))
        if len(change.drop):
            drops.insert(0, DropRows(network.key, table, change.drop))
        if len(change.put) or len(change.drop):
            parts[table] = replaced(table, parts[table], change.drop, change.put)
    whole = Tables(parts[Table.FDB], parts[Table.NEIGHBORS], parts[Table.FLOOD])
    return replace(plan, tables=plan.tables | {network.key: whole}), [*puts, *drops]


def _fdb(plan: NodePlan, world: World, network: Network, macs: Collection[str]) -> Rows:
    members = world.declared(network.name).nodes
    rows = []
    for mac in macs:
        place = locate(world, network, mac)
        if place and place.node != plan.node and place.node in members and place.node in world.nodes:
            rows.append((mac, world.nodes[place.node].vtep))
    return tables.fdb(rows)


def _addresses(world: World, network: Network, macs: Collection[str]) -> set[str]:
    """All that any node says these MACs have: where a MAC moves, what counts of it changes."""
    seen = world.sightings
    return {ip for mac in macs for endpoint in seen.of(network.key, mac).values() for ip in endpoint.ips}


def _neighbors(plan: NodePlan, world: World, network: Network, ips: Collection[str]) -> Rows:
    declared = world.declared(network.name).macs
    rows = []
    for ip in ips:
        mac = owner(world, network, ip)
        port = declared.get(mac) if mac else None
        hosts_own = port and port.node == plan.node and port.attach.kind is AttachKind.HOST
        if mac and not hosts_own:
            rows.append((ip, mac))
    return tables.neighbors(rows)
