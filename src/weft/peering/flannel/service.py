"""The daemon as a process: one a host and subnet file, ended by a signal, with its health page; and its cleanup."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

import structlog

from weft.agent.lock import NodeLock
from weft.agent.notify import Notifier
from weft.agent.until import unless
from weft.l2.user.iptunnel.tunnels import IpTunnels
from weft.model.errors import Kind, WeftError
from weft.netlink import route
from weft.netlink.alias import parse_alias
from weft.netlink.bulk import Bulk
from weft.netlink.channel import Channel
from weft.netlink.links import Links
from weft.netlink.route import PROTOCOL_PEERING as PROTOCOL
from weft.peering.flannel import health, subnet_file
from weft.peering.flannel.backends import make
from weft.peering.flannel.daemon import Daemon
from weft.peering.flannel.device import CLUSTER
from weft.peering.flannel.masquerade import Masquerade
from weft.peering.flannel.options import Options
from weft.store.etcd.address import Address


async def serve(address: Address, options: Options, where: tuple[str, int], ready: Callable[[], None]) -> None:
    """Until SIGTERM or SIGINT; `where`: address and port of the health page, port 0 for none. Raises WeftError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    daemon = Daemon(address, options, make, log)
    notifier = Notifier()

    def told() -> None:
        notifier.ready()
        ready()

    async with contextlib.AsyncExitStack() as opened:
        opened.callback(_lock(options).close)
        if where[1]:
            pages = await health.serve(*where, lambda: daemon.ready, daemon.problems)
            opened.callback(pages.close)
        await unless(stop, daemon.run(told))
        notifier.stopping()
        await daemon.release()
    log("stopped")  # packets go on flowing


def clean(options: Options) -> list[str]:
    """Removes devices, routes and rules of ours; what was removed, in words. The lease ends by itself."""
    lock = _lock(options)
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
        for each in (channel, bulk, nat, lock):
            each.close()
    subnet_file.forget(options.subnet_file)
    return done


def log(event: str, *, warning: bool = False, **values: object) -> None:
    logger = structlog.get_logger("weft.flannel")
    (logger.warning if warning else logger.info)(event, **values)


def _lock(options: Options) -> NodeLock:
    file = options.subnet_file
    try:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)  # who starts containers reads the file there
        return NodeLock(file.parent, "weft", file.name)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise WeftError(
            Kind.FAILED, f"cannot write there: {why}", where=f"subnet file {file}", remedy="give -subnet-file another"
        ) from None
    except WeftError as error:
        what = "weft flannel runs here already with this subnet file"
        raise WeftError(Kind.REFUSED, what, where=str(file), remedy="stop it first") from error
