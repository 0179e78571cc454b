"""`weft flannel`: a node of a flannel network, in flanneld's place, with flanneld's flags."""

from __future__ import annotations

import re
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from weft.cli import flannel_flags as flags
from weft.cli import output
from weft.cli.agent import LogFormat
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.peering.flannel.external import Wish
    from weft.peering.flannel.options import Options
    from weft.store.etcd.address import Address

A = TypeVar("A", IPv4Address, IPv6Address)


def command(
    etcd_endpoints: flags.EtcdEndpoints = "http://127.0.0.1:4001,http://127.0.0.1:2379",
    etcd_prefix: flags.EtcdPrefix = "/coreos.com/network",
    etcd_cafile: flags.EtcdCafile = "",
    etcd_certfile: flags.EtcdCertfile = "",
    etcd_keyfile: flags.EtcdKeyfile = "",
    etcd_username: flags.EtcdUsername = "",
    etcd_password: flags.EtcdPassword = "",
    iface: flags.Iface = None,
    iface_regex: flags.IfaceRegex = None,
    iface_can_reach: flags.IfaceCanReach = "",
    public_ip: flags.PublicIp = "",
    public_ipv6: flags.PublicIpv6 = "",
    subnet_file: flags.SubnetFile = Path("/run/flannel/subnet.env"),
    subnet_lease_renew_margin: flags.SubnetLeaseRenewMargin = 60,
    ip_masq: flags.IpMasq = False,
    ip_masq_fully_random_disable: flags.IpMasqFullyRandomDisable = False,
    healthz_ip: flags.HealthzIp = "0.0.0.0",
    healthz_port: flags.HealthzPort = 0,
    keep_lease: flags.KeepLease = False,
    cleanup: flags.Cleanup = False,
    log: flags.Log = LogFormat.TEXT,
    kube_subnet_mgr: flags.KubeSubnetMgr = False,
    ip_blackhole_route: flags.IpBlackholeRoute = False,
    verbosity: flags.Verbosity = "0",
    vmodule: flags.Vmodule = "",
    log_backtrace_at: flags.LogBacktraceAt = "",
    net_config_path: flags.NetConfigPath = "",
    node_unavailable: flags.NodeUnavailable = True,
    iptables_resync: flags.IptablesResync = "5",
    iptables_forward_rules: flags.IptablesForwardRules = True,
) -> None:
    """Be a node of a flannel network, next to flannel's own daemon on others: vxlan or udp, as its etcd says.

    Flags may have one dash, as flanneld's. Stopping it gives the lease back (see --keep-lease) and leaves packets
    flowing; --cleanup alone removes devices, routes and rules.
    """
    from weft.cli import agent
    from weft.peering.flannel.login import Login, address
    from weft.peering.flannel.options import Options

    _number("-subnet-lease-renew-margin", subnet_lease_renew_margin, 1, 1439)
    _number("-healthz-port", healthz_port, 0, 65535)
    _refuse(kube_subnet_mgr, ip_blackhole_route)
    wish = _wish(iface, iface_regex, iface_can_reach, public_ip, public_ipv6)
    fully_random = not ip_masq_fully_random_disable
    options = Options(_file(subnet_file), wish, ip_masq, fully_random, 60.0 * subnet_lease_renew_margin, keep_lease)
    login = Login(etcd_endpoints, etcd_prefix, etcd_cafile, etcd_certfile, etcd_keyfile, etcd_username, etcd_password)
    where = address(login)
    agent.configure(log)
    agent.permitted()
    _run(where, options, (healthz_ip, healthz_port), cleanup)


def _refuse(kube_subnet_mgr: bool, ip_blackhole_route: bool) -> None:
    """What flannel's daemon would do and this one does not."""
    if kube_subnet_mgr:
        what = "-kube-subnet-mgr: subnets come from etcd here, not from the Kubernetes API"
        raise WeftError(Kind.USAGE, what, remedy="keep flannel's own daemon in that cluster")
    if ip_blackhole_route:
        what = "-ip-blackhole-route: weft makes no such route"
        raise WeftError(Kind.USAGE, what, remedy="make it yourself: ip route add blackhole SUBNET")


def _wish(
    iface: list[str] | None, iface_regex: list[str] | None, can_reach: str, public_ip: str, public_ipv6: str
) -> Wish:
    from weft.peering.flannel.external import Wish

    return Wish(
        tuple(iface or ()),
        tuple(_pattern(each) for each in iface_regex or ()),
        _reachable(can_reach),
        _address("-public-ip", public_ip, IPv4Address),
        _address("-public-ipv6", public_ipv6, IPv6Address),
    )


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
