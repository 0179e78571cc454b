"""Rows of a segment: flood list and FDB on its vxlan device, neighbors on its bridge.

A routed segment has no bridge: neighbors stand on its vxlan device, and so do its routes, of our protocol and metric.

A remote MAC is two rows in the kernel, the bridge's (MAC → vxlan port) and the vxlan device's (MAC → VTEP). Where one
of them is missing, or the second one names a port or device of its own, the row is read as MAC → :: ("no VTEP"):
a diff then writes it again or removes it, whichever is wanted.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from weft.l2 import names
from weft.l2.kernel.host import Host
from weft.model.address import int_to_mac, ip_to_words, mac_to_int
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.netlink import neighbor as n
from weft.netlink.bulk import Refusal
from weft.netlink.links import Link
from weft.plan.operations import DropRows, PutRows
from weft.plan.segment import Segment
from weft.plan.tables import FDB, FLOOD, NEIGHBORS, Rows, Table, Tables, empty, normalized, text

_STATIC = n.NUD_NOARP | n.NUD_PERMANENT
_FEW = 4
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})


def put(host: Host, operation: PutRows) -> None:
    """Raises WeftError naming the first row that the kernel refused, and how many there were."""
    key, table, rows = _key(operation), operation.table, operation.rows
    if table is Table.NEIGHBORS:
        _raise(operation, host.bulk.put_neighbors(_speaker(host, key), rows))
        return
    if table is Table.ROUTES:
        _raise(operation, host.bulk.put_routes(_tunnel(host, key), rows))
        return
    if table is Table.FLOOD:
        _raise(operation, host.bulk.put_flood(_tunnel(host, key), rows))
        return
    mine = _local(host, key, rows)
    if mine.any():
        mac = int_to_mac(int(rows["mac"][mine][0]))
        what = f"{mac} belongs to a device of this bridge and cannot be a remote MAC"
        raise WeftError(Kind.FAILED, what, where=names.bridge(key), remedy="give the remote port another MAC")
    _raise(operation, host.bulk.put_fdb(_tunnel(host, key), rows))


def drop(host: Host, operation: DropRows) -> None:
    """What is gone already is no error. Raises WeftError as `put`."""
    key, table, rows = _key(operation), operation.table, operation.rows
    if table is Table.NEIGHBORS:
        refused = host.bulk.drop_neighbors(_speaker(host, key), rows)
    elif table is Table.ROUTES:
        refused = host.bulk.drop_routes(_tunnel(host, key), rows)
    elif table is Table.FLOOD:
        refused = host.bulk.drop_flood(_tunnel(host, key), rows)
    else:
        tunnel = _tunnel(host, key)
        half = [refusal.row for refusal in host.bulk.drop_fdb(tunnel, rows)]
        refused = host.bulk.drop_fdb(tunnel, rows[half], n.NTF_SELF) if half else []
        refused += host.bulk.drop_fdb(tunnel, rows[half], n.NTF_MASTER) if half else []
    _raise(operation, [refusal for refusal in refused if refusal.error.errno not in _GONE])


def _key(operation: PutRows | DropRows) -> SegmentKey:
    if not isinstance(operation.key, SegmentKey):
        raise WeftError(Kind.UNSUPPORTED, "this layer has no routers", where=str(operation.key))
    return operation.key


def forget(host: Host, tunnel: int) -> None:
    """Drops what a vxlan device has learned."""
    found = host.bulk.dump_fdb()
    learned = found[(found["ifindex"] == tunnel) & (found["state"] & _STATIC == 0) & (found["mac"] != 0)]
    own = _own(learned)
    host.bulk.drop_fdb(tunnel, _fdb(learned[own]), n.NTF_SELF)
    host.bulk.drop_fdb(tunnel, _fdb(learned[~own]), n.NTF_MASTER)


@contextmanager
def neighbors_kept(host: Host, bridge: int) -> Iterator[None]:
    """The kernel drops even permanent neighbors with a device's MAC or last address; they are written again after."""
    found = host.bulk.dump_neighbors()
    yield
    host.bulk.put_neighbors(bridge, _neighbors(found[found["ifindex"] == bridge]))


def empty_neighbors(host: Host, bridge: int) -> None:
    """Drops every static neighbor row of a bridge."""
    found = host.bulk.dump_neighbors()
    host.bulk.drop_neighbors(bridge, _neighbors(found[found["ifindex"] == bridge]))


def _local(host: Host, key: SegmentKey, rows: Rows) -> npt.NDArray[np.bool_]:
    """Which rows have a MAC that the bridge owns: its own or a port's. A few are asked for one by one."""
    if known := host.standing.get(key):
        return np.array([mac in known.local for mac in rows["mac"].tolist()], bool)
    tunnel = _link(host, key)
    if not tunnel.master:
        return np.zeros(len(rows), bool)
    if len(rows) <= _FEW:
        return np.array([host.bulk.is_local(tunnel.index, mac) for mac in rows["mac"].tolist()], bool)
    bridge = host.links.get_index(tunnel.master)
    links = (*host.links.dump(master=tunnel.master), *((bridge,) if bridge else ()))
    return np.isin(rows["mac"], np.array([mac_to_int(link.mac) for link in links], np.uint64))


def _speaker(host: Host, key: SegmentKey) -> int:
    """The index of the device that knows neighbors."""
    if known := host.standing.get(key):
        return known.speaker
    tunnel = host.own(names.vxlan(key), "vxlan")
    if tunnel and (alias := host.alias(tunnel)) and alias.kind is names.DeviceKind.ROUTED:
        return tunnel.index
    return _there(host.own(names.bridge(key), "bridge"), names.bridge(key)).index


def _tunnel(host: Host, key: SegmentKey) -> int:
    """The index of the vxlan device."""
    known = host.standing.get(key)
    return known.tunnel if known else _link(host, key).index


def _link(host: Host, key: SegmentKey) -> Link:
    return _there(host.own(names.vxlan(key), "vxlan"), names.vxlan(key))


def _there(link: Link | None, name: str) -> Link:
    if link is None:
        raise WeftError(Kind.FAILED, "the device is missing, so that its rows cannot be written", where=name)
    return link


def _raise(operation: PutRows | DropRows, refused: list[Refusal]) -> None:
    if not refused:
        return
    first = refused[0]
    row = " → ".join(text(operation.table, operation.rows[first.row : first.row + 1])[0])
    what = f"{len(refused)} of {len(operation.rows)} rows were refused, the first, {row}: {first.error}"
    raise WeftError(Kind.FAILED, what, where=f"{operation.table} of {operation.key}") from first.error


def read(
    host: Host, segments: dict[SegmentKey, Segment], indexes: dict[str, int], found: Rows, resolved: Rows
) -> tuple[dict[SegmentKey, Tables], dict[SegmentKey, Tables]]:
    """(static, learned) tables of our segments; `indexes`: link name → index; `found`: their FDB rows,
    `resolved`: their neighbors, others' among them or not."""
    rows, neighbors = _by_index(found), _by_index(resolved)
    routes = host.bulk.dump_routes().tables if any(segment.routed for segment in segments.values()) else {}
    nothing = np.empty(0, n.ROW)
    static: dict[SegmentKey, Tables] = {}
    learned: dict[SegmentKey, Tables] = {}
    for key, segment in segments.items():
        tunnel, bridge = indexes.get(names.vxlan(key), -1), indexes.get(names.bridge(key), -1)
        found = rows.get(tunnel, nothing)
        mine = _own(found)
        own = found[mine]
        fixed = own["state"] & _STATIC != 0
        zero = own["mac"] == 0
        if segment.routed:
            alone = _single(own[fixed & ~zero]), _neighbors(neighbors.get(tunnel, nothing)), _flood(own[zero], None)
            static[key] = Tables(*alone, routes.get(tunnel, empty(Table.ROUTES)))
            continue
        static[key] = Tables(
            _whole(own[fixed & ~zero], found[~mine]),
            _neighbors(neighbors.get(bridge, nothing)),
            _flood(own[zero], segment.group),
        )
        if len(seen := own[~fixed & ~zero]):
            learned[key] = Tables(normalized(Table.FDB, _fdb(seen)), empty(Table.NEIGHBORS), empty(Table.FLOOD))
    return static, learned


def _by_index(rows: Rows) -> dict[int, Rows]:
    if not len(rows):
        return {}
    rows = rows[np.argsort(rows["ifindex"], kind="stable")]
    indexes, starts = np.unique(rows["ifindex"], return_index=True)
    return dict(zip(indexes.tolist(), np.split(rows, starts[1:]), strict=True))


def _own(rows: Rows) -> npt.NDArray[np.bool_]:
    """Which rows are the vxlan device's own; the others are its bridge's, which a dump does not mark."""
    result: npt.NDArray[np.bool_] = rows["flags"] & n.NTF_SELF != 0
    return result


def _whole(own: Rows, bridge: Rows) -> Rows:
    """The FDB out of the vxlan device's rows and the bridge's; what is not whole has no VTEP."""
    master = bridge["mac"][(bridge["state"] & n.NUD_NOARP != 0) & (bridge["state"] & n.NUD_PERMANENT == 0)]
    rows = normalized(Table.FDB, _fdb(own))
    broken = ~np.isin(rows["mac"], master) | np.isin(rows["mac"], own["mac"][own["odd"]])
    alone = np.setdiff1d(master, rows["mac"])
    rows["vtep_high"][broken] = 0
    rows["vtep_low"][broken] = 0
    if not len(alone):
        return rows
    more = np.zeros(len(alone), FDB)
    more["mac"] = alone
    return normalized(Table.FDB, np.concatenate((rows, more)))


def _single(own: Rows) -> Rows:
    """The FDB of a vxlan device without bridge; a row with a port or VNI of its own has no VTEP."""
    rows = _fdb(own)
    rows["vtep_high"][own["odd"]] = 0
    rows["vtep_low"][own["odd"]] = 0
    return normalized(Table.FDB, rows)


def _fdb(rows: Rows) -> Rows:
    out = np.empty(len(rows), FDB)
    out["mac"], out["vtep_high"], out["vtep_low"] = rows["mac"], rows["ip_high"], rows["ip_low"]
    return out


def _flood(rows: Rows, group: str | None) -> Rows:
    """The all-zeros MAC's remotes; the group is the segment's, not a row."""
    out = np.empty(len(rows), FLOOD)
    out["vtep_high"], out["vtep_low"] = rows["ip_high"], rows["ip_low"]
    if group:
        high, low = ip_to_words(group)
        out = out[(out["vtep_high"] != high) | (out["vtep_low"] != low)]
    return normalized(Table.FLOOD, out)


def _neighbors(rows: Rows) -> Rows:
    rows = rows[rows["state"] & n.NUD_PERMANENT != 0]
    out = np.empty(len(rows), NEIGHBORS)
    out["ip_high"], out["ip_low"], out["mac"] = rows["ip_high"], rows["ip_low"], rows["mac"]
    return normalized(Table.NEIGHBORS, out)
