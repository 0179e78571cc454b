"""What a node's datapath holds, beside what was planned, as rows of text: the tables of `weft show`.

Every row has `state`: `ok` (planned and held), `missing` (planned, not held), `extra` (held, not planned) or `learned`
(the datapath found it by itself). Columns by table:

    fdb     network vni mac vtep node state
    arp     router network vni ip mac state    `router` "": what the segment answers with
    routes  router to via device table state   `via`: next hops, "-" on the device itself, "unreachable";
                                               `router` "": the host's own, of routed networks
    flood   network vni to node state          `to`: a VTEP or the multicast group
    ports   port network vni attach mac addresses mtu state
    links   network vni bridge tunnel vtep mtu learning arp state
    flows   table priority network packets age owner match actions
    drops   reason packets                      dropped since the datapath was made

Drops have no `state`. Flows are Open vSwitch's and have none either; in JSON they say also `mac`, `to`, `node` and
`octets`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from weft.agent.layers import below
from weft.l2 import names
from weft.l2.datapath import Datapath, FlowTables
from weft.l2.user.datapath import UserDatapath
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.plan.diff import segment_changes
from weft.plan.node import NodePlan, Observed
from weft.plan.router import MAIN, Route, Router, RouterDevice, connected
from weft.plan.segment import Segment
from weft.plan.tables import Table, Tables, text

Row = dict[str, str]


def rows(table: str, plan: NodePlan, observed: Observed, nodes: Mapping[str, str]) -> list[Row]:
    """The rows of one table; `nodes`: VTEP address → node name. Raises USAGE for a table there is none of."""
    try:
        make = TABLES[table]
    except KeyError:
        raise WeftError(Kind.USAGE, f"there is no table '{table}'", remedy=f"one of {', '.join(TABLES)}") from None
    return list(make(plan, observed, nodes))


def of(table: str, plan: NodePlan, datapath: Datapath, nodes: Mapping[str, str]) -> list[Row]:
    """The rows of one table as the datapath holds it now. Raises UNSUPPORTED for flows where there are none."""
    if table == "drops":
        return [{"reason": why, "packets": str(count)} for why, count in sorted(datapath.counters().drops.items())]
    if table != "flows":
        found = rows(table, plan, datapath.observe(), nodes)
        if table == "links" and isinstance(below(datapath), UserDatapath):  # a segment there has no devices
            return [row | {"bridge": "", "tunnel": ""} for row in found]
        return found
    datapath = below(datapath)
    if not isinstance(datapath, FlowTables):
        raise WeftError(Kind.UNSUPPORTED, "this node's datapath has no flows", remedy="`weft show fdb` has its tables")
    return [row | {"node": nodes.get(row["to"], "")} for row in datapath.flow_rows()]


def _fdb(plan: NodePlan, observed: Observed, nodes: Mapping[str, str]) -> Iterator[Row]:
    for segment, (mac, vtep), state in _states(Table.FDB, plan, observed):
        yield _of(segment) | {"mac": mac, "vtep": vtep, "node": nodes.get(vtep, ""), "state": state}


def _arp(plan: NodePlan, observed: Observed, nodes: Mapping[str, str]) -> Iterator[Row]:
    for segment, (ip, mac), state in _states(Table.NEIGHBORS, plan, observed):
        yield {"router": ""} | _of(segment) | {"ip": ip, "mac": mac, "state": state}
    for device, (ip, mac), state in _router_rows(Table.NEIGHBORS, plan, observed):
        yield {"router": device.router} | _of_device(device, plan, observed) | {"ip": ip, "mac": mac, "state": state}


def _routes(plan: NodePlan, observed: Observed, nodes: Mapping[str, str]) -> Iterator[Row]:
    for name in sorted({*plan.routers, *observed.routers}):
        planned, held = _routes_of(plan.routers.get(name)), _routes_of(observed.routers.get(name))
        for route in sorted(planned | held, key=lambda route: (route.table, route.to)):
            yield {
                "router": name,
                "to": route.to,
                "via": " ".join(hop.via or "-" for hop in route.hops) or "unreachable",
                "device": " ".join(dict.fromkeys(hop.device for hop in route.hops)),
                "table": "main" if route.table == MAIN else str(route.table),
                "state": _state(route in planned, route in held),
            }
    for segment, (to, via), state in _states(Table.ROUTES, plan, observed):
        tunnel = names.vxlan(segment.key)
        yield {"router": "", "to": to, "via": via, "device": tunnel, "table": "main", "state": state}
    for device, (to, via), state in _router_rows(Table.ROUTES, plan, observed):
        yield {"router": device.router, "to": to, "via": via, "device": device.device, "table": "main", "state": state}


def _routes_of(router: Router | None) -> set[Route]:
    return {*router.routes, *connected(router)} - {*router.lost} if router else set()


def _flood(plan: NodePlan, observed: Observed, nodes: Mapping[str, str]) -> Iterator[Row]:
    for key, segment in _segments(plan, observed):
        groups = {where.segments[key].group: where for where in (plan, observed) if key in where.segments}
        for group in groups:
            if group:
                planned = key in plan.segments and plan.segments[key].group == group
                held = key in observed.segments and observed.segments[key].group == group
                yield _of(segment) | {"to": group, "node": "", "state": _state(planned, held)}
    for segment, (vtep,), state in _states(Table.FLOOD, plan, observed):
        yield _of(segment) | {"to": vtep, "node": nodes.get(vtep, ""), "state": state}


def _ports(plan: NodePlan, observed: Observed, nodes: Mapping[str, str]) -> Iterator[Row]:
    for name in sorted({*plan.ports, *observed.ports}):
        held, planned = observed.ports.get(name), plan.ports.get(name)
        port = held or planned
        assert port is not None
        segment = plan.segments.get(port.segment) or observed.segments.get(port.segment)
        yield {
            "port": name,
            "network": segment.network if segment else "",
            "vni": str(port.segment.vni),
            "attach": f"{port.attach.kind} {port.attach.target}".strip(),
            "mac": port.mac,
            "addresses": " ".join(port.addresses),
            "mtu": str(port.mtu),
            "state": _object_state(planned, held, observed.flaws.get(name, ())),
        }


def _links(plan: NodePlan, observed: Observed, nodes: Mapping[str, str]) -> Iterator[Row]:
    for key, segment in _segments(plan, observed):
        yield _of(segment) | {
            "bridge": "" if segment.routed else names.bridge(key),
            "tunnel": names.vxlan(key),
            "vtep": segment.vtep,
            "mtu": str(segment.mtu),
            "learning": "on" if segment.learning else "off",
            "arp": "" if segment.routed else segment.arp,
            "state": _segment_state(plan.segments.get(key), observed.segments.get(key), observed.flaws.get(key, ())),
        }


TABLES: dict[str, Callable[[NodePlan, Observed, Mapping[str, str]], Iterator[Row]]] = {
    "fdb": _fdb,
    "arp": _arp,
    "routes": _routes,
    "flood": _flood,
    "ports": _ports,
    "links": _links,
}


def _segments(plan: NodePlan, observed: Observed) -> list[tuple[SegmentKey, Segment]]:
    """Every segment planned or held; as held where it is."""
    return sorted((plan.segments | observed.segments).items())


def _states(table: Table, plan: NodePlan, observed: Observed) -> Iterator[tuple[Segment, tuple[str, ...], str]]:
    nothing = Tables.none()
    for key, segment in _segments(plan, observed):
        planned = set(text(table, plan.tables.get(key, nothing)[table]))
        held = set(text(table, observed.tables.get(key, nothing)[table]))
        learned = set(text(table, observed.learned.get(key, nothing)[table])) - held
        for row in sorted(planned | held):
            yield segment, row, _state(row in planned, row in held)
        for row in sorted(learned):
            yield segment, row, "learned"


def _router_rows(
    table: Table, plan: NodePlan, observed: Observed
) -> Iterator[tuple[RouterDevice, tuple[str, ...], str]]:
    nothing = Tables.none()
    for device in sorted({*plan.router_tables, *observed.router_tables}):
        planned = set(text(table, plan.router_tables.get(device, nothing)[table]))
        held = set(text(table, observed.router_tables.get(device, nothing)[table]))
        for row in sorted(planned | held):
            yield device, row, _state(row in planned, row in held)


def _of_device(device: RouterDevice, plan: NodePlan, observed: Observed) -> Row:
    """The network of an IRB, or the L3 VNI."""
    router = plan.routers.get(device.router) or observed.routers[device.router]
    for irb in router.interfaces:
        if irb.device == device.device:
            return {"network": irb.network, "vni": str(irb.segment.vni)}
    return {"network": "", "vni": str(router.l3.key.vni) if router.l3 else ""}


def _state(planned: bool, held: bool) -> str:
    return ("ok" if held else "missing") if planned else "extra"


def _object_state(planned: object | None, held: object | None, flaws: tuple[str, ...]) -> str:
    if planned is None or held is None:
        return _state(planned is not None, held is not None)
    return "; ".join(flaws) or ("ok" if planned == held else "differs")


def _segment_state(planned: Segment | None, held: Segment | None, flaws: tuple[str, ...]) -> str:
    same = planned and held and not segment_changes(held, planned)
    return _object_state(planned, planned if same else held, flaws)


def _of(segment: Segment) -> Row:
    return {"network": segment.network, "vni": str(segment.key.vni)}
