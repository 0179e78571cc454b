"""A peer's lease as one family's vxlan device sees it: where its subnet is, behind which VTEP. Pure.

What leases say is hostile input: anybody who can write to etcd can write one. A subnet must lie in the network and off
our own, a MAC must be one that a VTEP can have, an address one that a host can have.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.lease import BackendData, Lease, folded

Words = tuple[int, int]
"""An IP address as two 64-bit words, IPv4 mapped (weft.model.address)."""
_MAC = re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", re.IGNORECASE)
_MULTICAST = 1 << 40


@dataclass(frozen=True, slots=True)
class Own:
    """What is ours in one family: leases that claim it are not obeyed."""

    network: IPv4Network | IPv6Network
    subnet: IPv4Network | IPv6Network
    mac: int
    vni: int
    addresses: frozenset[IPv4Address | IPv6Address]


@dataclass(frozen=True, slots=True)
class Peer:
    """`base`: its subnet's first address, at which its device answers; `length`: as tables have it (120 for a /24).

    `direct`: on our link, reached without a tunnel. `rank`: of two that claim the same, the higher one has it.
    """

    name: str
    base: Words
    length: int
    mac: int
    vtep: Words
    direct: bool
    rank: tuple[int, str]


def read(lease: Lease, own: Own, *, six: bool) -> Peer | None:
    """None for a lease that has nothing for this device; raises INVALID for one that must not be obeyed. `direct` is
    False: only the host knows."""
    subnet = lease.subnet6 if six else lease.subnet
    if subnet is None or lease.backend.type != "vxlan":
        return None
    public = located(lease, subnet, own, six=six)
    vni, mac = vtep_of(lease.backend, six=six)
    if vni not in (own.vni, told(own.vni)):
        raise _refused(lease, f"its VNI is {vni}, not {own.vni}")
    if mac is None or mac == own.mac:
        raise _refused(lease, "its VtepMAC is none that another VTEP can have")
    return Peer(
        lease.key,
        words(subnet.network_address),
        subnet.prefixlen + (0 if six else 96),
        mac,
        words(public),
        False,
        (lease.revision, lease.key),
    )


def located(lease: Lease, subnet: IPv4Network | IPv6Network, own: Own, *, six: bool) -> IPv4Address | IPv6Address:
    """The address in the underlay at which a lease's subnet is; raises INVALID where it must not be obeyed."""
    public = lease.public_ip6 if six else lease.public_ip
    if not subnet.subnet_of(own.network):  # type: ignore[arg-type]  # of one family
        raise _refused(lease, f"{subnet} is not in the network {own.network}")
    if subnet.overlaps(own.subnet):
        raise _refused(lease, f"{subnet} overlaps with this node's own {own.subnet}")
    if public is None or public.is_unspecified or public.is_multicast or public.is_loopback or public in own.addresses:
        raise _refused(lease, f"its address {public} is none of another host")
    return public


def told(vni: int) -> int:
    """A VNI as leases say it. Flannel before 0.24 has 16 bits for it there (a Go uint16): it writes the low ones, and
    passes over leases that say more. Nothing goes by it but our own check, so that all understand this form."""
    return vni & 0xFFFF


def vtep_of(backend: BackendData, *, six: bool) -> tuple[int, int | None]:
    """(VNI, MAC) of a lease's backend data; the MAC is None where it is no unicast one."""
    try:
        fields = folded(json.loads(backend.data6 if six else backend.data))
    except (ValueError, RecursionError):
        return 0, None
    vni, mac = fields.get("vni", 0), fields.get("vtepmac")
    if isinstance(vni, bool) or not isinstance(vni, int) or not isinstance(mac, str) or not _MAC.fullmatch(mac):
        return 0, None
    number = int(re.sub(r"[:.-]", "", mac), 16)
    return vni, None if not number or number & _MULTICAST else number


def words(address: IPv4Address | IPv6Address) -> Words:
    number = int(address)
    return (0, 0xFFFF << 32 | number) if address.version == 4 else (number >> 64, number & (1 << 64) - 1)


def _refused(lease: Lease, what: str) -> WeftError:
    return WeftError(
        Kind.INVALID, what, where=f"lease {lease.key}", remedy="it is not followed; its node must change it"
    )
