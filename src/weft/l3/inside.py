"""A router's namespace as this package sees it: how to speak with it, and what marks it as ours.

A namespace is ours if its name follows the law (weft.plan.router.namespace_of) and the alias of its loopback says
weft:<cluster>/router/<name>. One without any device of its own, and without an alias, is taken over.

The host's own namespace is nobody's: of a router in it, its IRB devices are ours (weft.l3.guest), and routes by them
alone. At most one router is there.
"""

from __future__ import annotations

from functools import cached_property

from weft.l3.guest import guests, plugged
from weft.model.errors import Kind, WeftError
from weft.netlink import namespace, sysctl
from weft.netlink.alias import Alias, DeviceKind, parse_alias
from weft.netlink.links import Change, Link
from weft.netlink.nft_nat import NatTable
from weft.netlink.routing import Routing
from weft.netlink.sockets import Sockets
from weft.plan.router import namespace_of


class Inside(Sockets):
    """One router's namespace, by its name on this machine; sockets stay open in it until `close`.

    `host`: it is the host's own, where most is not the router's.
    """

    def __init__(self, name: str, host: bool = False) -> None:
        super().__init__(name)
        self.name, self.host = name, host
        self.identity = namespace.identity(name)

    @cached_property
    def routing(self) -> Routing:
        return Routing(self.channel)

    @cached_property
    def nat(self) -> NatTable:
        return NatTable(self.name)

    def there(self, device: str) -> Link:
        """The link of this name; raises FAILED where it is missing."""
        if (link := self.links.get(device)) is None:
            raise WeftError(Kind.FAILED, f"{device} is missing", where=f"namespace {self.name}")
        return link

    def settings(self, wanted: dict[str, int]) -> None:
        """Writes the sysctls that differ; what this kernel lacks is left out."""
        for name in self.unset(wanted):
            sysctl.write(name, wanted[name], self.name)

    def unset(self, wanted: dict[str, int]) -> list[str]:
        """The sysctls that differ."""
        with namespace.entered(self.name):
            found = {name: sysctl.read(name) for name in wanted}
        return [name for name, value in found.items() if value is not None and value != str(wanted[name])]


class RouterHost(Sockets):
    """The node: its cluster, its own namespace, and the routers' namespaces, opened when first asked for.

    `names` maps a namespace as the plan calls it to its name on this machine.
    """

    def __init__(self, cluster: str, own: str | None, names: namespace.Rename) -> None:
        super().__init__(own)
        self.cluster, self.names = cluster, names
        self._open: dict[str, Inside] = {}
        self._here = ""  # the router in the host's own namespace

    def close(self) -> None:
        for inside in self._open.values():
            inside.close()
        self._open = {}
        super().close()

    def inside(self, router: str) -> Inside:
        """The router's namespace; raises FAILED where it does not exist or is not ours."""
        found = self.find(router)
        if found is None:
            raise WeftError(Kind.FAILED, "its namespace is missing", where=f"router {router}")
        return found

    def find(self, router: str) -> Inside | None:
        if router == self._here:
            return self._host()
        name = self.names(namespace_of(router))
        there = namespace.identity(name)
        known = self._open.get(name)
        if known and known.identity != there:  # it was deleted, and perhaps made again
            known.close()
            del self._open[name]
        if there is None:
            return None
        inside = self._open.get(name) or Inside(name)
        if self._owner(inside) != router:
            inside.close()
            raise WeftError(
                Kind.FAILED,
                f"namespace {name} is not weft's",
                where=f"router {router}",
                remedy=f"name the router otherwise, or remove it: ip netns delete {name}",
            )
        self._open[name] = inside
        return inside

    def _host(self) -> Inside:
        return self._open.setdefault("", Inside(self.namespace or namespace.OWN, host=True))

    def settle(self, router: str) -> Inside:
        """The host's own namespace, from now on this router's too."""
        self._here = router
        return self._host()

    def make(self, router: str) -> Inside:
        """The router's namespace, made or taken over where it must be."""
        if router == self._here:
            self._here = ""
        name = self.names(namespace_of(router))
        if not namespace.exists(name):
            namespace.create(name)
        fresh = Inside(name)
        try:
            links = fresh.links.dump()
            loopback = next((link for link in links if link.name == "lo"), None)
            if loopback and not loopback.alias and len(links) == 1:
                mark = str(Alias(self.cluster, DeviceKind.ROUTER, router))
                fresh.links.change(loopback, Change(alias=mark))
        finally:
            fresh.close()
        return self.inside(router)

    def drop(self, router: str) -> None:
        if router == self._here:
            for link in self.devices(self._host()):
                self._host().links.delete(link)
            self._here = ""
        elif inside := self.find(router):
            self._open.pop(inside.name, None)
            inside.close()
            namespace.delete(inside.name)

    def ours(self) -> list[str]:
        """The routers that are here, by name."""
        prefix = self.names(namespace_of(""))
        found = []
        for name in namespace.names():
            if name.startswith(prefix):
                inside = self._open.get(name) or Inside(name)
                try:
                    owner = self._owner(inside)
                except (WeftError, OSError):  # it went away, or is no namespace
                    owner = None
                if owner and self.names(namespace_of(owner)) == name:
                    found.append(owner)
                if name not in self._open:
                    inside.close()
        here = next((router for router, _ in guests(self.links.dump(), self.cluster)), "")
        self._here = "" if here in found else here
        return [*found, self._here] if self._here else found

    def devices(self, inside: Inside) -> list[Link]:
        """The links in a router's namespace; of the host's own those that are this router's."""
        links = inside.links.dump()
        if not inside.host:
            return links
        return [link for router, link in guests(links, self.cluster) if router == self._here]

    def end(self, inside: Inside, router: str, device: str) -> Link:
        """An IRB's device, which its port has put there. Raises FAILED where it is missing or somebody else's."""
        found = inside.there(device)
        mine = plugged(inside.links.dump(), self.cluster) if inside.host else ()
        if inside.host and (router, found.index) not in {(owner, link.index) for owner, link in mine}:
            raise WeftError(Kind.FAILED, f"{device} is not weft's", where=f"router {router}")
        return found

    def _owner(self, inside: Inside) -> str | None:
        loopback = inside.links.get("lo")
        alias = parse_alias(loopback.alias, self.cluster) if loopback else None
        return alias.name if alias and alias.kind is DeviceKind.ROUTER else None
