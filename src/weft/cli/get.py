"""`weft get`: what is stored, kind by kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli import kind, options, output
from weft.cli.options import Output
from weft.cli.place import Place, place, run
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.compile.world import World
    from weft.model.intent import Intent
    from weft.model.network import Network
    from weft.model.node import Node
    from weft.model.port import Port
    from weft.model.router import Router

Row = dict[str, str]


def command(
    kind_: kind.Readable,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, by name.")] = None,
    format: options.Format = Output.TEXT,
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
) -> None:
    """Show what is stored.

    Endpoints are declared ports and what was seen; their NAME is a MAC address. With -o json: the stored records.
    """
    run(_get(place(store, cluster, lab), kind.plural(kind_, kind.READABLE), name, format))


async def _get(where: Place, plural: str, name: str | None, format: Output) -> None:
    things, broken = await _stored(where, plural)
    for key, error in sorted(broken.items()):
        output.warn(str(error) if key in str(error) else f"{key}: {error}")
    records = _records(things, plural)
    if name is not None:
        label = "mac" if plural == "endpoints" else "name"
        records = [record for record in records if record[label] == name]
        if not records:
            where_ = f"{plural.removesuffix('s')} {name}"
            raise WeftError(Kind.NOT_FOUND, "is not stored", where=where_, remedy=f"`weft get {plural}` lists them")
    if format is Output.JSON:
        output.say_json(records)
    elif records:
        names = {record["mac" if plural == "endpoints" else "name"] for record in records}
        make, columns = _TABLES[plural]
        rows = [row for row in make(things) if row["mac" if plural == "endpoints" else "name"] in names]
        output.columns(rows, columns)
    else:
        output.say(f"no {plural}")


async def _stored(where: Place, plural: str) -> tuple[Any, dict[str, WeftError]]:
    """Intent, or a world where endpoints are asked for; and what does not decode."""
    async with where.opened() as (store, keys):
        if plural == "endpoints":
            from weft.agent.feed import Feed

            feed = Feed(keys)
            feed.load(await store.snapshot(feed.prefixes))
            return feed.world, feed.broken
        from weft.store.intent import read

        stored = await read(store, keys)
        return stored.intent, stored.broken


def _records(things: Any, plural: str) -> list[dict[str, Any]]:
    """The stored records as plain values, sorted by name; endpoints by network and MAC."""
    import msgspec

    if plural == "endpoints":
        return [{**row, "ips": row["ips"].split()} for row in _endpoints(things)]
    by_name = getattr(things, plural)
    return [msgspec.to_builtins(by_name[name]) for name in sorted(by_name)]


def _node(node: Node) -> Row:
    return {"name": node.name, "vtep": node.vtep, "datapath": node.datapath}


def _network(network: Network) -> Row:
    prefixes = network.routed.prefixes if network.routed else {}
    return {
        "name": network.name,
        "vni": str(network.vni),
        "udp_port": str(network.udp_port),
        "subnets": " ".join(network.subnets),
        "learning": "" if network.routed else network.learning,
        "flood": "" if network.routed else network.group or network.flood,
        "arp": "" if network.routed else network.arp,
        "mtu": str(network.mtu or "auto"),
        "prefixes": output.some([f"{node}={prefix}" for node, prefix in prefixes.items()]),
    }


def _router(router: Router) -> Row:
    return {
        "name": router.name,
        "vni": str(router.vni or ""),
        "gateways": " ".join(f"{network}={','.join(ips)}" for network, ips in router.gateways.items()),
        "placement": " ".join(router.placement) or "distributed",
        "external": " ".join(f"{outside.node}:{outside.interface}" for outside in router.external),
    }


def _port(port: Port) -> Row:
    return {
        "name": port.name,
        "network": port.network,
        "node": port.node,
        "attach": f"{port.attach.kind} {port.attach.target}".strip(),
        "mac": port.mac,
        "ips": " ".join(port.ips),
    }


def _endpoints(world: World) -> list[Row]:
    """Declared ports and sightings; of a MAC that both have, both are shown. `state`: what becomes of a sighting."""
    from weft.compile.endpoints import standing

    rows = [
        {
            "network": port.network,
            "mac": port.mac,
            "ips": " ".join(port.ips),
            "node": port.node,
            "port": port.name,
            "source": "port",
            "sequence": "",
            "state": "",
        }
        for port in world.declarations
        if port.mac
    ]
    networks = {network.key: network for network in world.networks.values()}
    rows += [
        {
            "network": networks[endpoint.key].name if endpoint.key in networks else str(endpoint.key),
            "mac": endpoint.mac,
            "ips": " ".join(endpoint.ips),
            "node": endpoint.node,
            "port": endpoint.port,
            "source": endpoint.source,
            "sequence": str(endpoint.sequence),
            "state": standing(world, networks.get(endpoint.key), endpoint),
        }
        for endpoint in world.endpoints()
    ]
    return sorted(rows, key=lambda row: (row["network"], row["mac"], row["node"]))


def _of(plural: str, row: Callable[[Any], Row]) -> Callable[[Intent], Iterator[Row]]:
    return lambda intent: (row(thing) for _, thing in sorted(getattr(intent, plural).items()))


_TABLES: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "nodes": (_of("nodes", _node), ("name", "vtep", "datapath")),
    "networks": (
        _of("networks", _network),
        ("name", "vni", "udp_port", "subnets", "learning", "flood", "arp", "mtu", "prefixes"),
    ),
    "routers": (_of("routers", _router), ("name", "vni", "gateways", "placement", "external")),
    "ports": (_of("ports", _port), ("name", "network", "node", "attach", "mac", "ips")),
    "endpoints": (_endpoints, ("network", "mac", "ips", "node", "port", "source", "sequence", "state")),
}
