"""flanneld's flags as typer takes them, with flanneld's words and variables; and the few of our own beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli.agent import LogFormat


def _option(name: str, help_text: str, **more: Any) -> Any:
    """`--name`, also read from FLANNELD_NAME as flanneld's flags are."""
    switch = f"--{name}/--no-{name}" if more.pop("switch", False) else f"--{name}"
    return typer.Option(switch, envvar=f"FLANNELD_{name.upper().replace('-', '_')}", help=help_text, **more)


def _silent(name: str, **more: Any) -> Any:
    return _option(name, "Accepted for flanneld's sake; means nothing here.", hidden=True, **more)


EtcdEndpoints = Annotated[str, _option("etcd-endpoints", "etcd's endpoints, with commas between.", metavar="URLS")]
EtcdPrefix = Annotated[str, _option("etcd-prefix", "Where the network's keys stand in etcd.", metavar="KEY")]
EtcdCafile = Annotated[str, _option("etcd-cafile", "The authority that etcd's certificate must be from.")]
EtcdCertfile = Annotated[str, _option("etcd-certfile", "The certificate to show to etcd.")]
EtcdKeyfile = Annotated[str, _option("etcd-keyfile", "Its key.")]
EtcdUsername = Annotated[str, _option("etcd-username", "etcd's user.")]
EtcdPassword = Annotated[str, _option("etcd-password", "Their password; better in the environment.")]
Iface = Annotated[
    list[str] | None,
    _option("iface", "The device to the other nodes, by name or address. Repeatable: the first that fits."),
]
IfaceRegex = Annotated[
    list[str] | None, _option("iface-regex", "The same by regular expression; after all --iface. Repeatable.")
]
IfaceCanReach = Annotated[
    str, _option("iface-can-reach", "The device that leads to this address; after those.", metavar="IP")
]
PublicIp = Annotated[str, _option("public-ip", "The IPv4 address at which others reach this node.", metavar="IP")]
PublicIpv6 = Annotated[str, _option("public-ipv6", "The same for IPv6.", metavar="IP")]
SubnetFile = Annotated[Path, _option("subnet-file", "Where this node's subnet is written, and read at start.")]
SubnetLeaseRenewMargin = Annotated[
    int, _option("subnet-lease-renew-margin", "Minutes before its end that the lease is renewed, 1 to 1439.")
]
IpMasq = Annotated[bool, _option("ip-masq", "Masquerade what containers send out of the overlay.", switch=True)]
IpMasqFullyRandomDisable = Annotated[
    bool, _option("ip-masq-fully-random-disable", "Do not draw their source ports at random.", switch=True)
]
HealthzIp = Annotated[str, _option("healthz-ip", "Where to serve /healthz and /readyz.")]
HealthzPort = Annotated[int, _option("healthz-port", "The port for that; 0: nowhere.")]
KeepLease = Annotated[bool, _option("keep-lease", "Keep the lease when stopped, as for a restart.", switch=True)]
Cleanup = Annotated[bool, typer.Option("--cleanup", help="Remove all of ours from this host and end.")]
Log = Annotated[LogFormat, typer.Option("--log", help="key=value lines, or one JSON object a line.")]
KubeSubnetMgr = Annotated[bool, _silent("kube-subnet-mgr", switch=True)]
IpBlackholeRoute = Annotated[bool, _silent("ip-blackhole-route", switch=True)]
Verbosity = Annotated[str, _silent("v")]
Vmodule = Annotated[str, _silent("vmodule")]
LogBacktraceAt = Annotated[str, _silent("log_backtrace_at")]
NetConfigPath = Annotated[str, _silent("net-config-path")]
NodeUnavailable = Annotated[bool, _silent("set-node-network-unavailable", switch=True)]
IptablesResync = Annotated[str, _silent("iptables-resync")]
IptablesForwardRules = Annotated[bool, _silent("iptables-forward-rules", switch=True)]
