"""The daemon as a process: one a host and network, ended by a signal, with its health page; and its cleanup."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

import structlog

from weft.agent.notify import Notifier
from weft.agent.until import unless
from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.netlink import route
from weft.netlink.addresses import Addresses
from weft.netlink.alias import parse_alias
from weft.netlink.bulk import Bulk
from weft.netlink.channel import Channel
from weft.netlink.links import Links
from weft.netlink.route import PROTOCOL_PEERING as PROTOCOL
from weft.peering.flannel import health, subnet_file
from weft.peering.flannel.backend import Backend, External
from weft.peering.flannel.backends import device, make
from weft.peering.flannel.config import NetworkConfig
from weft.peering.flannel.daemon import Daemon
from weft.peering.flannel.device import CLUSTER
from weft.peering.flannel.locks import Locks
from weft.peering.flannel.masquerade import Masquerade
from weft.peering.flannel.options import Options
from weft.peering.flannel.overlap import refuse_overlap
from weft.store.etcd.address import Address


async def serve(address: Address, options: Options, where: tuple[str, int], ready: Callable[[], None]) -> None:
    """Until SIGTERM or SIGINT; `where`: address and port of the health page, port 0 for none. Raises WeftError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    locks, notifier = Locks(options.namespace), Notifier()

    def made(config: NetworkConfig, external: External, namespace: str | None) -> Backend:
        refuse_overlap(config, external, _addresses(external, namespace))
        locks.device(device(config))
        return make(config, external, namespace)

    daemon = Daemon(address, options, made, log)

    def told() -> None:
        notifier.ready()
        ready()

    async with contextlib.AsyncExitStack() as opened:
        opened.callback(locks.close)
        locks.prefix(address.prefix)
        locks.subnet_file(options.subnet_file)
        if where[1]:
            pages = await health.serve(*where, lambda: daemon.ready, daemon.problems)
            opened.callback(pages.close)
        await unless(stop, daemon.run(told))
        notifier.stopping()
        await daemon.release()
    log("stopped")  # packets go on flowing


def _addresses(external: External, namespace: str | None) -> tuple[str, ...]:
    with contextlib.closing(Channel(namespace=namespace)) as channel:
        return Addresses(channel).dump(external.index).get(external.index, ())


def clean(options: Options) -> list[str]:
    """Removes devices, routes and rules of ours; what was removed, in words. The lease ends by itself.

    Raises REFUSED where a daemon runs, which would make all of it anew.
    """
    with contextlib.closing(Locks(options.namespace)) as locks:
        locks.everything()
        locks.subnet_file(options.subnet_file)
        return _cleaned(options)


def _cleaned(options: Options) -> list[str]:
    channel, bulk, nat = Channel(), Bulk(), Masquerade()
    done = []
    tunnels = IpTunnels(CLUSTER)
    if tunnels.pid is not None:
        tunnels.stop()
        done.append("- forwarder of ip tunnels")
    tunnels.close()
    try:
        links = Links(channel)
        for link in links.dump():
            if parse_alias(link.alias, CLUSTER):
                links.delete(link)
                done.append(f"- {link.name}")
        rows = bulk.dump_protocol_routes(PROTOCOL)
        for index in sorted(set(rows["ifindex"].tolist())):
            bulk.drop_routes(
                index, route.table_of(rows[rows["ifindex"] == index]), route.Form(PROTOCOL, 0, onlink=False)
            )
        done += [f"- {len(rows)} routes"] if len(rows) else []
        done += ["- masquerading"] if nat.drop() else []
    finally:
        for each in (channel, bulk, nat):
            each.close()
    subnet_file.forget(options.subnet_file)
    return done


def log(event: str, *, warning: bool = False, **values: object) -> None:
    logger = structlog.get_logger("weft.flannel")
    (logger.warning if warning else logger.info)(event, **values)
