"""flannel.<VNI> (IPv4) and flannel-v6.<VNI> (IPv6): one vxlan device a family, as flannel makes them.

    vxlan id <VNI> local <the host's address> dev <its device> dstport 8472 nolearning ttl auto
    address <the subnet's first>/32, MTU of the underlay − 50 (IPv4) or − 70 (IPv6)

A device that stands there, flannel's own or ours, is taken over with its MAC as long as it has this VNI, port and
underlay; what else differs is mended in place. Otherwise it is made anew with the same MAC, so that peers need not hear
of it. Source: observed; flannel's pkg/backend/vxlan/device.go; drivers/net/vxlan/vxlan_core.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface

from weft.model.errors import Kind, WeftError
from weft.netlink import message as m
from weft.netlink import sysctl
from weft.netlink.addresses import Addresses
from weft.netlink.alias import Alias, DeviceKind
from weft.netlink.channel import Channel
from weft.netlink.links import Change, Link, Links, Vxlan
from weft.netlink.namespace import Namespace

CLUSTER = "flannel"
"""In the place of a cluster's name in the alias of what is ours."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the device is to be. `underlay`: the index of the device below; `network`: its addresses are ours to set."""

    name: str
    vni: int
    port: int
    underlay: int
    local: IPv4Address | IPv6Address
    mtu: int
    mac: str
    address: str
    network: IPv4Network | IPv6Network
    learning: bool = False
    gbp: bool = False

    @property
    def alias(self) -> str:
        return str(Alias(CLUSTER, DeviceKind.TUNNEL, self.name))

    @property
    def fixed(self) -> m.Attributes:
        """What the kernel takes at creation only."""
        fixed = {Vxlan.ID: m.u32(0, self.vni)[4:8], Vxlan.PORT: self.port.to_bytes(2, "big")}
        return fixed | ({Vxlan.GBP: b""} if self.gbp else {})

    @property
    def changing(self) -> m.Attributes:
        local = Vxlan.LOCAL if self.local.version == 4 else Vxlan.LOCAL6
        return {
            local: self.local.packed,
            Vxlan.LINK: m.u32(0, self.underlay)[4:8],
            Vxlan.LEARNING: bytes([self.learning]),
        }


class Devices:
    """Of one namespace. Errors are WeftErrors that name the device."""

    def __init__(self, namespace: Namespace = None) -> None:
        self._namespace = namespace
        self.channel = Channel(namespace=namespace)
        self.links = Links(self.channel)
        self.addresses = Addresses(self.channel)

    def close(self) -> None:
        self.channel.close()

    def mac(self, name: str) -> str | None:
        """Of the vxlan device of this name."""
        link = self.links.get(name)
        return link.mac if link is not None and link.kind == "vxlan" else None

    def put(self, wanted: Device) -> tuple[Link, list[str]]:
        """The device as stated, whatever was there; and what was done to it, in words."""
        link = self.links.get(wanted.name)
        if link is not None and link.kind != "vxlan":
            raise WeftError(
                Kind.FAILED,
                f"a {link.kind or 'device'} stands where the vxlan device must",
                where=wanted.name,
                remedy=f"rename or remove it: ip link delete {wanted.name}",
            )
        done = []
        if link is not None and (why := self._foreign(link, wanted)):
            self.links.delete(link)
            done.append(f"{wanted.name}: made anew, {why}")
            link = None
        if link is None:
            done = done or [f"{wanted.name}: made"]
            link = self._create(wanted)
        else:
            done += self._mend(link, wanted)
        done += self._address(link, wanted)
        if sysctl.read(f"ipv6/conf/{wanted.name}/accept_ra", self._namespace) not in (None, "0"):
            sysctl.write(f"ipv6/conf/{wanted.name}/accept_ra", 0, self._namespace)
        if not link.up:
            self.links.change(link, Change(up=True))
        return link, done

    def drop(self, name: str) -> bool:
        """Removes the device if it is one; whether it was."""
        link = self.links.get(name)
        if link is None or link.kind != "vxlan":
            return False
        self.links.delete(link)
        return True

    @staticmethod
    def _foreign(link: Link, wanted: Device) -> str:
        """Why a device cannot become the wanted one; empty if it can."""
        for kind, value in wanted.fixed.items():
            if kind not in link.info or (value and link.info[kind] != value):
                return "it had another VNI or port"
        if (Vxlan.GBP in link.info) != wanted.gbp:
            return "it had another group policy"
        if any(value.strip(b"\0") for kind, value in link.info.items() if kind in (Vxlan.GROUP, Vxlan.GROUP6)):
            return "it had a remote of its own"
        local = Vxlan.LOCAL if wanted.local.version == 4 else Vxlan.LOCAL6
        if local not in link.info or (wanted.local.version == 6 and link.info[local] != wanted.local.packed):
            return "it had another local address"  # which the kernel can change for IPv4 alone
        return ""

    def _create(self, wanted: Device) -> Link:
        info = b"".join(m.attribute(kind, value) for kind, value in (wanted.fixed | wanted.changing).items())
        stated = Change(
            name=wanted.name, kind="vxlan", mac=wanted.mac, mtu=wanted.mtu, info=info, alias=wanted.alias, quiet=True
        )
        return self.links.create(stated)

    def _mend(self, link: Link, wanted: Device) -> list[str]:
        done = []
        differs = {kind: value for kind, value in wanted.changing.items() if link.info.get(kind) != value}
        if differs:
            info = b"".join(m.attribute(kind, value) for kind, value in wanted.changing.items())
            self.links.change(link, Change(kind="vxlan", info=info))
            done.append(f"{wanted.name}: local address, underlay or learning set")
        if link.mtu != wanted.mtu:
            self.links.change(link, Change(mtu=wanted.mtu))
            done.append(f"{wanted.name}: MTU {link.mtu} → {wanted.mtu}")
        if link.mac != wanted.mac:
            self.links.change(link, Change(mac=wanted.mac))
            done.append(f"{wanted.name}: MAC {link.mac} → {wanted.mac}")
        if link.alias != wanted.alias:
            self.links.change(link, Change(alias=wanted.alias, quiet=True))
            done.append(f"{wanted.name}: taken over")
        if not link.up:
            done.append(f"{wanted.name}: set up")
        return done

    def _address(self, link: Link, wanted: Device) -> list[str]:
        there = self.addresses.of(link)
        if wanted.address not in there:
            self.addresses.add(link, wanted.address)
        stale = [text for text in there if text != wanted.address and _within(text, wanted.network)]
        for text in stale:
            self.addresses.delete(link, text)
        if wanted.address in there and not stale:
            return []
        return [f"{wanted.name}: address {wanted.address}"]


def _within(text: str, network: IPv4Network | IPv6Network) -> bool:
    address = ip_interface(text).ip
    return address.version == network.version and address in network
