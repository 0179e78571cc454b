"""`weft subnet-file`: a node's prefix of a routed network, in the form of flannel's subnet file.

Programs that start containers read it there: which prefix is theirs, and the MTU. The prefix is what is stored, the
MTU what the node's agent has made of it.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import options, output, show
from weft.cli.place import Place, place, run
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.model.network import Network


def command(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="A routed network.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Replaced as a whole if it says otherwise. Default: print.")
    ] = None,
    node: Annotated[
        str | None,
        typer.Option("--node", metavar="NAME", help="Default: the only agent of this host, or its hostname."),
    ] = None,
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
) -> None:
    """Write a node's prefix of a routed network as flannel's subnet file, for programs that start containers.

    FLANNEL_NETWORK is the pool, FLANNEL_SUBNET the bridge's address and length, FLANNEL_MTU the containers' MTU.
    """
    where = place(store, cluster, lab)
    text = _text(where, network, node or run(show.here(where)))
    if file is None:
        output.say(text.removesuffix("\n"))
        return
    from weft.peering.flannel import subnet_file

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        subnet_file.replace(file, text)
    except OSError as error:
        raise subnet_file.unwritable(file, error, "name another file, or run it as root") from None


def _text(where: Place, name: str, node: str) -> str:
    from weft.peering.flannel import subnet_file
    from weft.peering.flannel.config import NetworkConfig, Pool
    from weft.peering.flannel.lease import Lease

    network = run(_stored(where, name))
    prefix = network.routed.prefixes.get(node) if network.routed else None
    if prefix is None:
        what = f"node {node} has no prefix of it" if network.routed else "is not routed: its nodes have no prefixes"
        raise WeftError(Kind.REFUSED, what, where=f"network {name}", remedy="`weft get networks` tells who has which")
    rows = [row for row in show.rows_of(where, "links", node) if row["network"] == name and row["state"] == "ok"]
    if not rows:
        what = f"node {node} has not made it yet, or not as planned"
        raise WeftError(Kind.REFUSED, what, where=f"network {name}", remedy="`weft status` says why")
    pool, own = (ipaddress.ip_network(each) for each in (network.subnets[0], prefix))
    whole = Pool(pool, own.prefixlen, own[0], own[0])
    if isinstance(own, ipaddress.IPv4Network):
        config, lease = NetworkConfig(whole, None, "vxlan"), Lease(own)
    else:
        config, lease = NetworkConfig(None, whole, "vxlan"), Lease(None, own)
    return subnet_file.text(config, lease, int(rows[0]["mtu"]), masquerade=False)


async def _stored(where: Place, name: str) -> Network:
    from weft.agent.feed import Feed

    async with where.opened() as (store, keys):
        feed = Feed(keys)
        feed.load(await store.snapshot(feed.prefixes))
    if (network := feed.world.networks.get(name)) is None:
        raise WeftError(
            Kind.NOT_FOUND, "is not stored", where=f"network {name}", remedy="`weft get networks` lists them"
        )
    return network
