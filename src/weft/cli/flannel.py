"""`weft flannel`: a node of a flannel network, in flanneld's place, with flanneld's flags."""

from __future__ import annotations

import re
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from weft.cli import output
from weft.cli.agent import LogFormat
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.peering.flannel.options import Options
    from weft.store.etcd.address import Address

A = TypeVar("A", IPv4Address, IPv6Address)


def _option(name: str, help_text: str, **more: Any) -> Any:
    """`--name`, also read from FLANNELD_NAME as flanneld's flags are."""
    switch = f"--{name}/--no-{name}" if more.pop("switch", False) else f"--{name}"
    return typer.Option(switch, envvar=f"FLANNELD_{name.upper().replace('-', '_')}", help=help_text, **more)


def _silent(name: str, **more: Any) -> Any:
    return _option(name, "Accepted for flanneld's sake; means nothing here.", hidden=True, **more)


def command(
    etcd_endpoints: Annotated[
        str, _option("etcd-endpoints", "etcd's endpoints, with commas between.", metavar="URLS")
    ] = "http://127.0.0.1:4001,http://127.0.0.1:2379",
    etcd_prefix: Annotated[
        str, _option("etcd-prefix", "Where the network's keys stand in etcd.", metavar="KEY")
    ] = "/coreos.com/network",
    etcd_cafile: Annotated[str, _option("etcd-cafile", "The authority that etcd's certificate must be from.")] = "",
    etcd_certfile: Annotated[str, _option("etcd-certfile", "The certificate to show to etcd.")] = "",
    etcd_keyfile: Annotated[str, _option("etcd-keyfile", "Its key.")] = "",
    etcd_username: Annotated[str, _option("etcd-username", "etcd's user.")] = "",
    etcd_password: Annotated[str, _option("etcd-password", "Their password; better in the environment.")] = "",
    iface: Annotated[
        list[str] | None,
        _option("iface", "The device to the other nodes, by name or address. Repeatable: the first that fits."),
    ] = None,
    iface_regex: Annotated[
        list[str] | None, _option("iface-regex", "The same by regular expression; after all --iface. Repeatable.")
    ] = None,
    iface_can_reach: Annotated[
        str, _option("iface-can-reach", "The device that leads to this address; after those.", metavar="IP")
    ] = "",
    public_ip: Annotated[
        str, _option("public-ip", "The IPv4 address at which others reach this node.", metavar="IP")
    ] = "",
    public_ipv6: Annotated[str, _option("public-ipv6", "The same for IPv6.", metavar="IP")] = "",
    subnet_file: Annotated[
        Path, _option("subnet-file", "Where this node's subnet is written, and read at start.")
    ] = Path("/run/flannel/subnet.env"),
    subnet_lease_renew_margin: Annotated[
        int, _option("subnet-lease-renew-margin", "Minutes before its end that the lease is renewed, 1 to 1439.")
    ] = 60,
    ip_masq: Annotated[
        bool, _option("ip-masq", "Masquerade what containers send out of the overlay.", switch=True)
    ] = False,
    ip_masq_fully_random_disable: Annotated[
        bool, _option("ip-masq-fully-random-disable", "Do not draw their source ports at random.", switch=True)
    ] = False,
    healthz_ip: Annotated[str, _option("healthz-ip", "Where to serve /healthz and /readyz.")] = "0.0.0.0",
    healthz_port: Annotated[int, _option("healthz-port", "The port for that; 0: nowhere.")] = 0,
    keep_lease: Annotated[
        bool, _option("keep-lease", "Keep the lease when stopped, as for a restart.", switch=True)
    ] = False,
    cleanup: Annotated[bool, typer.Option("--cleanup", help="Remove all of ours from this host and end.")] = False,
    log: Annotated[
        LogFormat, typer.Option("--log", help="key=value lines, or one JSON object a line.")
    ] = LogFormat.TEXT,
    kube_subnet_mgr: Annotated[bool, _silent("kube-subnet-mgr", switch=True)] = False,
    ip_blackhole_route: Annotated[bool, _silent("ip-blackhole-route", switch=True)] = False,
    verbosity: Annotated[str, _silent("v")] = "0",
    vmodule: Annotated[str, _silent("vmodule")] = "",
    log_backtrace_at: Annotated[str, _silent("log_backtrace_at")] = "",
    net_config_path: Annotated[str, _silent("net-config-path")] = "",
    node_unavailable: Annotated[bool, _silent("set-node-network-unavailable", switch=True)] = True,
    iptables_resync: Annotated[str, _silent("iptables-resync")] = "5",
    iptables_forward_rules: Annotated[bool, _silent("iptables-forward-rules", switch=True)] = True,
) -> None:
    """Be a node of a flannel network, next to flannel's own daemon on others: vxlan or udp, as its etcd says.

    Flags may have one dash, as flanneld's. Stopping it gives the lease back (see --keep-lease) and leaves packets
    flowing; --cleanup alone removes devices, routes and rules.
    """
    from weft.cli import agent
    from weft.peering.flannel.external import Wish
    from weft.peering.flannel.login import Login, address
    from weft.peering.flannel.options import Options

    _number("-subnet-lease-renew-margin", subnet_lease_renew_margin, 1, 1439)
    _number("-healthz-port", healthz_port, 0, 65535)
    if kube_subnet_mgr:
        what = "-kube-subnet-mgr: subnets come from etcd here, not from the Kubernetes API"
        raise WeftError(Kind.USAGE, what, remedy="keep flannel's own daemon in that cluster")
    if ip_blackhole_route:
        what = "-ip-blackhole-route: weft makes no such route"
        raise WeftError(Kind.USAGE, what, remedy="make it yourself: ip route add blackhole SUBNET")
    wish = Wish(
        tuple(iface or ()),
        tuple(_pattern(each) for each in iface_regex or ()),
        _reachable(iface_can_reach),
        _address("-public-ip", public_ip, IPv4Address),
        _address("-public-ipv6", public_ipv6, IPv6Address),
    )
    fully_random = not ip_masq_fully_random_disable
    options = Options(_file(subnet_file), wish, ip_masq, fully_random, 60.0 * subnet_lease_renew_margin, keep_lease)
    login = Login(etcd_endpoints, etcd_prefix, etcd_cafile, etcd_certfile, etcd_keyfile, etcd_username, etcd_password)
    where = address(login)
    agent.configure(log)
    agent.permitted()
    _run(where, options, (healthz_ip, healthz_port), cleanup)


def _address(name: str, text: str, kind: type[A]) -> A | None:
    try:
        return kind(text) if text else None
    except ValueError:
        raise WeftError(Kind.USAGE, f"{name} is {text!r}", remedy="use one address of this family") from None


def _number(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise WeftError(Kind.USAGE, f"{name} is {value}", remedy=f"use {least} to {most}")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        what = f"-iface-regex {text!r} is no regular expression ({error})"
        raise WeftError(Kind.USAGE, what, remedy="put a backslash before a character that stands for itself") from None
    return text


def _reachable(text: str) -> str:
    try:
        return str(ip_address(text)) if text else ""
    except ValueError:
        raise WeftError(Kind.USAGE, f"-iface-can-reach is {text!r}", remedy="use one address") from None


def _file(path: Path) -> Path:
    if path.is_dir():
        what, remedy = f"-subnet-file {path} is a directory", f"name a file in it: {path / 'subnet.env'}"
        raise WeftError(Kind.USAGE, what, remedy=remedy)
    return path


def _run(where: Address, options: Options, health: tuple[str, int], cleanup: bool) -> None:
    import asyncio

    from weft.peering.flannel.service import clean, serve

    def ready() -> None:
        # The line that scripts written for flanneld wait for, where flanneld writes it.
        print("Running backend.", file=sys.stderr, flush=True)

    if cleanup:
        for line in clean(options) or ["nothing of ours is here"]:
            output.say(line)
        return
    asyncio.run(serve(where, options, health, ready))
