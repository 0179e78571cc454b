"""Rows of a router's devices: neighbors of an IRB; FDB, neighbors and host routes of an L3 VNI's device."""

from __future__ import annotations

import errno

import numpy as np

from weft.l3.inside import Inside, RouterHost
from weft.model.errors import Kind, WeftError
from weft.netlink import neighbor as n
from weft.netlink.alias import DeviceKind, parse_alias
from weft.netlink.bulk import Refusal
from weft.netlink.links import Link
from weft.plan.operations import DropRows, PutRows
from weft.plan.router import RouterDevice
from weft.plan.tables import FDB, NEIGHBORS, Rows, Table, Tables, empty, normalized, text

_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})


def put(host: RouterHost, key: RouterDevice, operation: PutRows) -> None:
    """Raises WeftError naming the first row that the kernel refused, and how many there were."""
    inside = host.inside(key.router)
    index, rows, bulk = inside.there(key.device).index, operation.rows, inside.bulk
    match operation.table:
        case Table.NEIGHBORS:
            refused = bulk.put_neighbors(index, rows)
        case Table.ROUTES:
            refused = bulk.put_routes(index, rows)
        case _:
            refused = bulk.put_fdb(index, rows, n.NTF_SELF)
    _raise(operation, refused)


def drop(host: RouterHost, key: RouterDevice, operation: DropRows) -> None:
    """What is gone already is no error. Raises WeftError as `put`."""
    inside = host.inside(key.router)
    link = inside.links.get(key.device)
    if link is None:
        return
    rows, bulk = operation.rows, inside.bulk
    match operation.table:
        case Table.NEIGHBORS:
            refused = bulk.drop_neighbors(link.index, rows)
        case Table.ROUTES:
            refused = bulk.drop_routes(link.index, rows)
        case _:
            refused = bulk.drop_fdb(link.index, rows, n.NTF_SELF)
    _raise(operation, [refusal for refusal in refused if refusal.error.errno not in _GONE])


def _raise(operation: PutRows | DropRows, refused: list[Refusal]) -> None:
    if not refused:
        return
    first = refused[0]
    row = " → ".join(text(operation.table, operation.rows[first.row : first.row + 1])[0])
    what = f"{len(refused)} of {len(operation.rows)} rows were refused, the first, {row}: {first.error}"
    raise WeftError(Kind.FAILED, what, where=f"{operation.table} of {operation.key}") from first.error


def read(host: RouterHost, router: str, inside: Inside, links: list[Link]) -> dict[RouterDevice, Tables]:
    """Static rows of our devices."""
    neighbors, fdb, routes = inside.bulk.dump_neighbors(), inside.bulk.dump_fdb(), inside.bulk.dump_routes().tables
    found: dict[RouterDevice, Tables] = {}
    for link in links:
        alias = parse_alias(link.alias, host.cluster)
        if alias is None or alias.kind not in (DeviceKind.IRB, DeviceKind.ROUTER) or link.name == "lo":
            continue
        found[RouterDevice(router, link.name)] = Tables(
            fdb=_fdb(fdb[fdb["ifindex"] == link.index]),
            neighbors=_neighbors(neighbors[neighbors["ifindex"] == link.index]),
            routes=routes.get(link.index, empty(Table.ROUTES)),
        )
    return found


def _fdb(rows: Rows) -> Rows:
    rows = rows[(rows["flags"] & n.NTF_SELF != 0) & (rows["mac"] != 0) & (rows["ip_low"] != 0)]
    out = np.empty(len(rows), FDB)
    out["mac"], out["vtep_high"], out["vtep_low"] = rows["mac"], rows["ip_high"], rows["ip_low"]
    return normalized(Table.FDB, out)


def _neighbors(rows: Rows) -> Rows:
    rows = rows[rows["state"] & n.NUD_PERMANENT != 0]
    out = np.empty(len(rows), NEIGHBORS)
    out["ip_high"], out["ip_low"], out["mac"] = rows["ip_high"], rows["ip_low"], rows["mac"]
    return normalized(Table.NEIGHBORS, out)
