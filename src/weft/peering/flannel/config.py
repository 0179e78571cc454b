"""The network's configuration, `<prefix>/config` in etcd, read as flannel reads it.

    {"Network": "10.2.0.0/16", "SubnetLen": 24, "SubnetMin": "10.2.1.0", "SubnetMax": "10.2.20.0",
     "EnableIPv6": true, "IPv6Network": "fc00::/48", "Backend": {"Type": "vxlan", "VNI": 1, "Port": 8472}}

Names, and the backend's type, are compared without regard to case; names that mean nothing here are passed over.
Source: flannel's Documentation/configuration.md, Documentation/backends.md and pkg/subnet/config.go. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.lease import folded

VNI, VXLAN_PORT, UDP_PORT = 1, 8472, 8285
"""What a backend takes where its configuration does not say: 8472 is the kernel's default, not RFC 7348's 4789."""

MAX_VNI = (1 << 24) - 1

_BACKENDS = ("vxlan", "udp")
_REMEDY = "put a right one there: etcdctl put <prefix>/config '{…}' (docs/flannel.md)"


@dataclass(frozen=True, slots=True)
class Pool:
    """Where subnets of one family come from: those of `length` in `network`, from `first` to `last`."""

    network: IPv4Network | IPv6Network
    length: int
    first: IPv4Address | IPv6Address
    last: IPv4Address | IPv6Address

    def fits(self, subnet: IPv4Network | IPv6Network | None) -> bool:
        """Whether a node may have this subnet under this configuration."""
        if subnet is None or subnet.version != self.network.version or subnet.prefixlen != self.length:
            return False
        return int(self.first) <= int(subnet.network_address) <= int(self.last)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """`four`, `six`: None where the family is not enabled. `backend`: in lower case, with `options` by names in lower
    case as well."""

    four: Pool | None
    six: Pool | None
    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def number(self, name: str, default: int, most: int) -> int:
        """A backend's option in 0…most; flannel's 0 stands for the default."""
        value = self.options.get(name.lower())
        if value is None or value == 0:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
            raise _wrong(f"the backend's {name} is {value!r}", f"use a number from 1 to {most}")
        return value

    def flag(self, name: str) -> bool:
        value = self.options.get(name.lower())
        if value not in (None, True, False):
            raise _wrong(f"the backend's {name} is {value!r}", "use true or false")
        return bool(value)


def parse(text: bytes) -> NetworkConfig:
    """Raises INVALID, naming what is wrong and what to write instead."""
    try:
        fields = folded(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise _wrong(f"it is no JSON object ({error})") from None
    four = six = None
    if _flag(fields, "EnableIPv4", True):
        four = _pool(fields, IPv4Network, "")
    if _flag(fields, "EnableIPv6", False):
        six = _pool(fields, IPv6Network, "IPv6")
    if four is None and six is None:
        raise _wrong("neither IPv4 nor IPv6 is enabled", "set EnableIPv4 or EnableIPv6 to true")
    backend, options = _backend(fields.get("backend"), "backend" in fields)
    if backend == "udp" and four is None:
        raise _wrong("the udp backend carries IPv4 only", "use the vxlan backend, or set EnableIPv4 to true")
    config = NetworkConfig(four, six, backend, options)
    _check_options(config)
    return config


def _check_options(config: NetworkConfig) -> None:
    """Here, not only where a backend is made: a configuration that cannot be is waited out."""
    config.number("Port", VXLAN_PORT, 65535)
    if config.backend == "vxlan":
        config.number("VNI", VNI, MAX_VNI)
        config.number("MTU", 0, 65535)
        for name in ("DirectRouting", "Learning", "GBP"):
            config.flag(name)


def _backend(value: Any, given: bool) -> tuple[str, dict[str, Any]]:
    if not given:
        return "udp", {}
    try:
        options = folded(value)
    except ValueError:
        raise _wrong("Backend is no JSON object", 'use {"Type": "vxlan"}') from None
    kind = options.pop("type", "")
    if not isinstance(kind, str) or kind.lower() not in _BACKENDS:
        named = f"backend type {kind!r} is none that weft speaks" if kind else "Backend has no Type"
        raise _wrong(named, "use vxlan or udp, or keep flannel's own daemon on this node")
    return kind.lower(), options


def _pool(fields: dict[str, Any], kind: type[IPv4Network] | type[IPv6Network], prefix: str) -> Pool:
    width, common, most = (32, 24, 28) if kind is IPv4Network else (128, 64, 124)
    name = f"{prefix}Network"
    network = _network(fields.get(name.lower()), kind, name)
    length = fields.get(f"{prefix}SubnetLen".lower()) or 0
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise _wrong(f"{prefix}SubnetLen is {length!r}", "use a prefix length")
    if not length:
        if network.prefixlen > most:
            raise _wrong(f"{name} {network} is too small", f"use a prefix length of at most {most}")
        length = max(common, network.prefixlen + 2)
    if length > width - 2:
        raise _wrong(f"{prefix}SubnetLen {length} leaves a node no room", f"use at most {width - 2}")
    if length < network.prefixlen + 2:
        what = f"{name} {network} has no room for four subnets of length {length}"
        raise _wrong(what, f"use a SubnetLen of at least {network.prefixlen + 2}, or a larger network")
    size = 1 << (width - length)
    first = _bound(fields, f"{prefix}SubnetMin", network, length) or network.network_address + size
    last = _bound(fields, f"{prefix}SubnetMax", network, length) or network.broadcast_address - (size - 1)
    if int(first) > int(last):
        raise _wrong(f"{prefix}SubnetMin {first} is above {prefix}SubnetMax {last}", "exchange them")
    return Pool(network, length, first, last)


def _network(value: Any, kind: type[IPv4Network] | type[IPv6Network], name: str) -> IPv4Network | IPv6Network:
    example = "10.2.0.0/16" if kind is IPv4Network else "fc00::/48"
    if value in (None, ""):
        raise _wrong(f"it has no {name}", f'add "{name}": "{example}"')
    try:
        if not isinstance(value, str) or "/" not in value:
            raise ValueError
        return kind(value, strict=False)
    except ValueError:
        raise _wrong(f"{name} {value!r} is no network", f"use one such as {example}") from None


def _bound(
    fields: dict[str, Any], name: str, network: IPv4Network | IPv6Network, length: int
) -> IPv4Address | IPv6Address | None:
    """SubnetMin or SubnetMax; None where it is left to the default, which flannel's 0.0.0.0 and :: mean too."""
    value = fields.get(name.lower())
    if value in (None, ""):
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        address = type(network.network_address)(value)
    except ValueError:
        raise _wrong(f"{name} {value!r} is no address of {network}", "use a subnet's first address") from None
    if not int(address):
        return None
    if address not in network:
        raise _wrong(f"{name} {address} is not in {network}", "use the first address of one of its subnets")
    if int(address) & ((1 << (address.max_prefixlen - length)) - 1):
        raise _wrong(f"{name} {address} begins no subnet of length {length}", "use a subnet's first address")
    return address


def _flag(fields: dict[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name.lower())
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _wrong(f"{name} is {value!r}", "use true or false")
    return value


def _wrong(what: str, remedy: str = _REMEDY) -> WeftError:
    return WeftError(Kind.INVALID, what, where="flannel's network configuration", remedy=remedy)
