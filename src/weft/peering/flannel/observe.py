"""What stands on a vxlan device of flannel's, in the tables' own form, whoever wrote it.

Everything static on our device is ours. A route is, if it bears our protocol number. One by our device that bears none
of a daemon's and has the form of flannel's own, a subnet by its first address, is what a daemon before us left: where
it is wanted we write ours in its place, else it goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from weft.netlink import neighbor as n
from weft.netlink import route
from weft.netlink.bulk import Bulk
from weft.peering.flannel.peers import Rowset
from weft.plan.tables import FDB, NEIGHBORS, Rows, Table, Tables, difference, normalized

_STATIC = n.NUD_NOARP | n.NUD_PERMANENT
_BOOT = 3  # RTPROT_BOOT, which flannel's and iproute2's routes bear


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """`left`: routes that flannel's daemon left on the device."""

    ours: Rowset
    left: Rows


def observe(bulk: Bulk, index: int, underlay: int, protocol: int, *, six: bool) -> Found:
    """Of the device `index`; direct routes are those of our protocol by the underlay's device."""
    fdb, neighbors = bulk.dump_fdb(), bulk.dump_neighbors()
    tunnel = bulk.dump_device_routes(index)
    direct = bulk.dump_protocol_routes(protocol)
    direct = direct[(direct["ifindex"] == underlay) & (n.is_ipv4(direct["ip_high"], direct["ip_low"]) != six)]
    left = (tunnel["protocol"] == _BOOT) & (tunnel["ip_high"] == tunnel["via_high"])
    left &= tunnel["ip_low"] == tunnel["via_low"]
    tables = Tables(
        fdb=_fdb(fdb[fdb["ifindex"] == index]),
        neighbors=_neighbors(neighbors[neighbors["ifindex"] == index]),
        routes=route.table_of(tunnel[tunnel["protocol"] == protocol]),
    )
    return Found(Rowset(tables, route.table_of(direct)), route.table_of(tunnel[left]))


def between(wanted: Rowset, found: Found) -> tuple[Rowset, Rowset]:
    """(to write, to remove)."""
    there = found.ours
    changes = {
        table: difference(table, wanted.tables[table], there.tables[table])
        for table in (Table.FDB, Table.NEIGHBORS, Table.ROUTES)
    }
    direct = difference(Table.ROUTES, wanted.direct, there.direct)
    everywhere = normalized(Table.ROUTES, np.concatenate((wanted.tables.routes, wanted.direct)))
    put = {table.value: change.put for table, change in changes.items()}
    drop = {table.value: change.drop for table, change in changes.items()}
    left = difference(Table.ROUTES, everywhere, found.left).drop
    drop["routes"] = normalized(Table.ROUTES, np.concatenate((drop["routes"], left)))
    return Rowset(replace(wanted.tables, **put), direct.put), Rowset(replace(there.tables, **drop), direct.drop)


def _fdb(rows: Rows) -> Rows:
    rows = rows[(rows["flags"] & n.NTF_SELF != 0) & (rows["mac"] != 0) & (rows["state"] & _STATIC != 0)]
    out = np.empty(len(rows), FDB)
    out["mac"], out["vtep_high"], out["vtep_low"] = rows["mac"], rows["ip_high"], rows["ip_low"]
    out["vtep_low"][rows["odd"]] = 0  # with a port or VNI of its own: none of ours
    return normalized(Table.FDB, out)


def _neighbors(rows: Rows) -> Rows:
    rows = rows[rows["state"] & n.NUD_PERMANENT != 0]
    out = np.empty(len(rows), NEIGHBORS)
    out["ip_high"], out["ip_low"], out["mac"] = rows["ip_high"], rows["ip_low"], rows["mac"]
    return normalized(Table.NEIGHBORS, out)
