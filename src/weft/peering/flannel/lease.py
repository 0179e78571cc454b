"""Leases as flannel keeps them in etcd: one key per node's subnet, the value says where that subnet is.

    <prefix>/subnets/10.5.57.0-24                 dual stack: 10.5.57.0-24&fc00::57:0-112
    {"PublicIP":"172.31.99.11","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"ea:2d:…"}}

`BackendType`, `BackendData` and `BackendV6Data` are left out where there are none (the udp backend's leases). Names are
read without regard to case, as Go's encoding/json does, and written as flannel writes them, to the octet. A network
without IPv4 has 0.0.0.0-0 in its keys and 0.0.0.0 as PublicIP. Source: observed values, and flannel's
pkg/lease/lease.go and pkg/subnet/subnet.go. Pure.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import msgspec

from weft.model.errors import Kind, WeftError

SUBNETS = "subnets/"
_KEY = re.compile(r"(\d+\.\d+\.\d+\.\d+)-(\d{1,2})(?:&([0-9a-f:]+)-(\d{1,3}))?")
_NOWHERE = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class BackendData:
    """What a backend puts into its node's lease: its type as flannel names it, "" for udp; `data` and `data6` are JSON
    texts, for IPv4 and IPv6, "" for none."""

    type: str = ""
    data: str = ""
    data6: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """One node's subnets and where they are. `etcd_lease`: the id of the etcd lease that the key hangs on, 0 for a key
    without a TTL, a reservation. `revision`: the key's, 0 for one that was not written yet."""

    subnet: IPv4Network | None
    subnet6: IPv6Network | None = None
    public_ip: IPv4Address = _NOWHERE
    public_ip6: IPv6Address | None = None
    backend: BackendData = BackendData()
    etcd_lease: int = 0
    revision: int = 0

    @property
    def key(self) -> str:
        """Below the prefix: subnets/…"""
        return SUBNETS + name_of(self.subnet, self.subnet6)

    @property
    def value(self) -> bytes:
        """As flannel writes it."""
        fields: dict[str, object] = {
            "PublicIP": str(self.public_ip),
            "PublicIPv6": str(self.public_ip6) if self.public_ip6 else None,
        }
        if self.backend.type:
            fields["BackendType"] = self.backend.type
        for name, data in (("BackendData", self.backend.data), ("BackendV6Data", self.backend.data6)):
            if data:
                fields[name] = msgspec.Raw(data.encode())
        return msgspec.json.encode(fields)

    @property
    def reserved(self) -> bool:
        return self.revision > 0 and self.etcd_lease == 0

    def says(self, other: Lease) -> bool:
        """Whether both have the same key and value."""
        return replace(self, etcd_lease=0, revision=0) == replace(other, etcd_lease=0, revision=0)

    def __str__(self) -> str:
        return " ".join(str(subnet) for subnet in (self.subnet, self.subnet6) if subnet)


def name_of(subnet: IPv4Network | None, subnet6: IPv6Network | None) -> str:
    """Subnets as the last part of a key."""
    four = str(subnet or "0.0.0.0/0").replace("/", "-")
    return f"{four}&{str(subnet6).replace('/', '-')}" if subnet6 else four


def subnets_of(name: str) -> tuple[IPv4Network | None, IPv6Network | None] | None:
    """The subnets that the last part of a key names; None where it names none."""
    found = _KEY.fullmatch(name)
    if not found:
        return None
    try:
        four = IPv4Network(f"{found[1]}/{found[2]}")
        six = IPv6Network(f"{found[3]}/{found[4]}") if found[3] else None
    except ValueError:
        return None
    nothing = four.prefixlen == 0 and six is not None
    return None if four.prefixlen == 0 and not nothing else (None if nothing else four, six)


def decode(key: str, value: bytes, *, etcd_lease: int = 0, revision: int = 0) -> Lease:
    """The lease of a key below the prefix and its value; raises INVALID for what is none."""
    subnets = subnets_of(key.removeprefix(SUBNETS))
    if not key.startswith(SUBNETS) or subnets is None:
        raise _wrong(key, "is no subnet")
    try:
        fields = folded(json.loads(value))
        public = _NOWHERE if (four := _told(fields, "publicip")) is None else IPv4Address(four)
        public6 = None if (six := _told(fields, "publicipv6")) is None else IPv6Address(six)
        kind = _told(fields, "backendtype") or ""
    except (ValueError, TypeError, RecursionError) as error:
        raise _wrong(key, f"its value is not a lease ({error})") from None
    data = (_text(fields.get(name)) for name in ("backenddata", "backendv6data"))
    return Lease(*subnets, public, public6, BackendData(kind, *data), etcd_lease, revision)


def folded(value: Any) -> dict[str, Any]:
    """A JSON object with its names in lower case: Go takes them in any. Raises ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return {name.lower(): item for name, item in value.items()}


def _told(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if not isinstance(value, str | None):
        raise ValueError(f"{name} is no text")
    return value


def _text(data: Any) -> str:
    return "" if data is None else json.dumps(data, separators=(",", ":"))


def _wrong(key: str, what: str) -> WeftError:
    remedy = "it is left out; remove the key, or let its owner write it again"
    return WeftError(Kind.INVALID, what, where=f"lease {key}", remedy=remedy)
