"""The host as the other files of this package see it: its namespace, how to speak with it, and what is ours there."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from weft.l2.kernel.standing import Standing
from weft.l2.names import Alias, lawful, parse_alias, renamed
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.netlink import sysctl
from weft.netlink.links import Link
from weft.netlink.nft import Suppression, SuppressTable
from weft.netlink.nft_gateway import GatewayTable
from weft.netlink.nft_relay import RelayTable
from weft.netlink.sockets import Sockets


class Host(Sockets):
    """`namespace` None: the process's own. `ports` maps a port's namespace as declared to its name on this machine.

    `declared`: addresses that ports were put with, where an alias has no room for them. `strays`: devices of ours that
    somebody has renamed, by the name they had, as last observed.
    """

    def __init__(self, cluster: str, namespace: str | None, ports: Callable[[str], str]) -> None:
        super().__init__(namespace)
        self.cluster = cluster
        self.ports = ports
        self.declared: dict[str, tuple[str, ...]] = {}
        self.strays: dict[str, list[Link]] = {}
        self.standing: Mapping[SegmentKey, Standing] = {}
        self._doomed: list[tuple[Link, Callable[[], None] | None]] | None = None

    @property
    def table(self) -> str:
        """The name of our nftables table."""
        return "weft" if self.cluster == "default" else f"weft-{self.cluster}"

    @cached_property
    def suppression(self) -> SuppressTable:
        return SuppressTable(self.table, self.namespace)

    def suppressed(self) -> Suppression:
        """What nftables holds of ours; nothing on a kernel without it."""
        try:
            return self.suppression.observe()
        except WeftError as error:
            if error.kind is not Kind.UNSUPPORTED:
                raise
            return Suppression()

    def unsuppress(self, device: str) -> None:
        """ARP and ND may leave by the device again, as they always may on a kernel without nftables."""
        try:
            self.suppression.remove(device)
        except WeftError as error:
            if error.kind is not Kind.UNSUPPORTED:
                raise

    @cached_property
    def gateways(self) -> GatewayTable:
        return GatewayTable(f"{self.table}-gateways", self.namespace)

    def keep_off(self, device: str, anycast: tuple[str, ...]) -> None:
        """What concerns these gateways does not leave by the device; nothing to do on a kernel without nftables."""
        try:
            self.gateways.put(device, anycast)
        except WeftError as error:
            if error.kind is not Kind.UNSUPPORTED or anycast:
                raise

    def kept_off(self) -> dict[str, tuple[str, ...]]:
        """What nftables keeps off which device; nothing on a kernel without it."""
        try:
            return self.gateways.observe()
        except WeftError as error:
            if error.kind is not Kind.UNSUPPORTED:
                raise
            return {}

    @cached_property
    def relays(self) -> RelayTable:
        return RelayTable(f"{self.table}-relay", self.namespace)

    def keep_in(self, device: str, relayed: bool) -> None:
        """ARP out of the device reaches the relay alone, or goes its way, as always on a kernel without nftables."""
        try:
            self.relays.put(device, relayed)
        except WeftError as error:
            if error.kind is not Kind.UNSUPPORTED or relayed:
                raise

    def kept_in(self) -> frozenset[str]:
        """The devices whose ARP reaches the relay alone; none on a kernel without nftables."""
        try:
            return self.relays.observe()
        except WeftError as error:
            if error.kind is not Kind.UNSUPPORTED:
                raise
            return frozenset()

    def alias(self, link: Link) -> Alias | None:
        """What the link is to us, None if it is not ours."""
        alias = parse_alias(link.alias, self.cluster)
        return alias if alias and lawful(link.name, alias) else None

    def renamed(self, link: Link) -> tuple[Alias, str] | None:
        """What a link of ours is that somebody has renamed, and its name by law; None if it is not provably ours."""
        alias = parse_alias(link.alias, self.cluster)
        name = renamed(link.name, link.index, alias) if alias else None
        return (alias, name) if alias and name else None

    def delete(self, link: Link, after: Callable[[], None] | None = None) -> None:
        """Deletes a link of ours, at once or, inside `together`, with others; `after` is done when it is gone."""
        if self._doomed is not None:
            self._doomed.append((link, after))
            return
        self.links.delete(link)
        if after:
            after()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Links deleted in the block go at its end, all in one step. Raises WeftError."""
        doomed: list[tuple[Link, Callable[[], None] | None]] = []
        self._doomed = doomed
        try:
            yield
        finally:
            self._doomed = None
        self.links.delete_all([link for link, _ in doomed])
        for _, after in doomed:
            if after:
                after()

    def own(self, name: str, kind: str) -> Link | None:
        """Our device of this name; None if there is none. Raises WeftError if somebody else's stands there."""
        link = self.links.get(name)
        if link is not None and (self.alias(link) is None or link.kind != kind):
            what = f"a {link.kind or 'device'} that is not weft's stands where weft needs this name"
            remedy = f"rename or remove it: ip link set {name} name … · ip link delete {name}"
            raise WeftError(Kind.FAILED, what, where=name, remedy=remedy)
        return link

    def quiet(self, name: str) -> None:
        """Router advertisements are nothing to a device of the infrastructure."""
        if sysctl.read(f"ipv6/conf/{name}/accept_ra", self.namespace) not in (None, "0"):
            sysctl.write(f"ipv6/conf/{name}/accept_ra", 0, self.namespace)

    def holder(self, address: str) -> Link | None:
        """The link that holds an IP address."""
        wanted = ipaddress.ip_address(address)
        for index, texts in self.addresses.dump().items():
            if any(ipaddress.ip_interface(text).ip == wanted for text in texts):
                return next((link for link in self.links.dump() if link.index == index), None)
        return None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading of the host; `suppression`, `gateways` and `relayed` as of nftables."""

    links: list[Link]
    addresses: dict[int, tuple[str, ...]]
    suppression: Suppression
    gateways: dict[str, tuple[str, ...]]
    relayed: frozenset[str] = frozenset()

    @staticmethod
    def of(host: Host) -> Snapshot:
        return Snapshot(host.links.dump(), host.addresses.dump(), host.suppressed(), host.kept_off(), host.kept_in())


def unquiet(link: Link) -> list[str]:
    """Flaws of a device of the infrastructure that may speak on its own."""
    flaws = []
    if link.addrgen not in (None, 1):
        flaws.append(f"{link.name} makes IPv6 addresses by itself")
    if link.accept_ra not in (None, 0):
        flaws.append(f"{link.name} takes router advertisements")
    return flaws


def ordered(there: tuple[str, ...], declared: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses as they were declared if they are the same ones; the kernel keeps an order of its own."""
    return declared if len(there) == len(declared) and set(there) == set(declared) else there
