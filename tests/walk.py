"""A packet walked over node plans: what the tables alone make of it, hop by hop. Simple enough to be believed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from weft.model.address import int_to_mac, ip_to_words, mac_to_int, words_to_ip
from weft.model.network import Arp, SegmentKey
from weft.plan.node import NodePlan
from weft.plan.port import LocalPort
from weft.plan.router import Irb, Router, RouterDevice
from weft.plan.tables import Rows


@dataclass
class Walk:
    """`plans` by node. A walk ends at a port's name, or nowhere; `routers` are those passed, as node/router."""

    plans: dict[str, NodePlan]
    routers: list[str] = field(default_factory=list)
    tunnels: list[tuple[int, str, str]] = field(default_factory=list)  # (VNI, source MAC, destination MAC)

    def send(self, node: str, port: LocalPort, to: str) -> str | None:
        """The port that a packet of this port to an address arrives at."""
        self.routers, self.tunnels = [], []
        six = ":" in to
        own = [ipaddress.ip_interface(text) for text in port.addresses]
        near = any(ipaddress.ip_address(to) in each.network for each in own)
        hop = to if near else next((gateway for gateway in port.gateways if (":" in gateway) == six), None)
        if hop is None:
            return None
        mac = self._resolve(node, port.segment, hop)
        return self._forward(node, port.segment, port.mac, mac, to) if mac else None

    def _resolve(self, node: str, key: SegmentKey, ip: str) -> str | None:
        """What a host of this node is told of an address in its segment."""
        plan = self.plans[node]
        segment = plan.segments[key]
        if segment.arp is Arp.SUPPRESS:
            return _lookup(plan.tables[key].neighbors, ip, "mac")
        if segment.arp is Arp.PROXY:
            for router, irb in self._irbs(node, key):
                if irb.proxy and (_has(irb, ip) or self._route(node, router, ip)):
                    return irb.anycast
            return None
        return self._ask(node, key, ip)

    def _ask(self, node: str, key: SegmentKey, ip: str) -> str | None:
        """ARP that is flooded: the local gateway, a port anywhere, a centralized gateway anywhere."""
        for _, irb in self._irbs(node, key):
            if _has(irb, ip):
                return irb.anycast or irb.mac
        for other, plan in self.plans.items():
            for port in plan.ports.values():
                if port.segment == key and ip in {text.partition("/")[0] for text in port.addresses}:
                    return port.mac
            for _, irb in self._irbs(other, key):
                if not irb.anycast and _has(irb, ip):
                    return irb.mac
        return None

    def _forward(self, node: str, key: SegmentKey, source: str, mac: str, to: str) -> str | None:
        """A frame in a segment, from a port or router of this node."""
        plan = self.plans[node]
        end = self._deliver(node, key, mac, to)
        if end is not None:
            return end or None
        if plan.segments[key].learning:
            remotes = [words_to_ip(*row) for row in plan.tables[key].flood.tolist()]
        else:
            vtep = _fdb(plan.tables[key].fdb, mac)
            remotes = [vtep] if vtep else []
        for vtep in remotes:
            self.tunnels.append((key.vni, source, mac))
            there = self._at(vtep)
            if there and key in self.plans[there].segments:
                end = self._deliver(there, key, mac, to, from_tunnel=True)
                if end is not None:
                    return end or None
        return None

    def _deliver(self, node: str, key: SegmentKey, mac: str, to: str, from_tunnel: bool = False) -> str | None:
        """Whose frame this is here: a port's, a router's ("" if that leads nowhere), or nobody's (None)."""
        for router, irb in self._irbs(node, key):
            if mac == irb.mac or (mac == irb.anycast and not from_tunnel):
                return self._routed(node, router, to) or ""
        for name, port in self.plans[node].ports.items():
            if port.segment == key and port.mac == mac and "/" not in name:
                if port.isolated and from_tunnel:
                    return None
                return name if to in {text.partition("/")[0] for text in port.addresses} else ""
        return None

    def _routed(self, node: str, router: Router, to: str) -> str | None:
        self.routers.append(f"{node}/{router.name}")
        if len(self.routers) > 6:
            return None
        found = self._route(node, router, to)
        if found is None:
            return None
        device, hop = found
        rows = self.plans[node].router_tables[RouterDevice(router.name, device)]
        mac = _lookup(rows.neighbors, hop, "mac")
        if router.l3 and device == router.l3.device:
            vtep = _fdb(rows.fdb, mac) if mac else None
            there = self._at(vtep) if vtep else None
            self.tunnels.append((router.l3.key.vni, router.l3.mac, mac or ""))
            far = self.plans[there].routers.get(router.name) if there else None
            return self._routed(there, far, to) if there and far and far.l3 and far.l3.mac == mac else None
        irb = next(irb for irb in router.interfaces if irb.device == device)
        if mac is None and irb.asks:
            mac = self._ask(node, irb.segment, hop)
        return self._forward(node, irb.segment, irb.mac, mac, to) if mac else None

    def _route(self, node: str, router: Router, to: str) -> tuple[str, str] | None:
        """(device, next hop) of the longest match."""
        address = ipaddress.ip_address(to)
        if router.l3:
            rows = self.plans[node].router_tables[RouterDevice(router.name, router.l3.device)].routes
            if via := _words(rows, to, "via"):
                return router.l3.device, via
        best: tuple[int, str, str] | None = None
        for irb in router.interfaces:
            for text in () if irb.anycast else irb.addresses:
                subnet = ipaddress.ip_interface(text).network
                if address in subnet and (best is None or subnet.prefixlen > best[0]):
                    best = subnet.prefixlen, irb.device, to
        for route in router.routes:
            subnet = ipaddress.ip_network(route.to)
            if route.table == 254 and address in subnet and (best is None or subnet.prefixlen > best[0]):
                hop = route.hops[0] if route.hops else None
                best = subnet.prefixlen, hop.device if hop else "", (hop.via or to) if hop else ""
        return (best[1], best[2]) if best and best[1] else None

    def _irbs(self, node: str, key: SegmentKey) -> list[tuple[Router, Irb]]:
        routers = self.plans[node].routers.values()
        return [(router, irb) for router in routers for irb in router.interfaces if irb.segment == key]

    def _at(self, vtep: str) -> str | None:
        for node, plan in self.plans.items():
            if any(segment.vtep == vtep for segment in plan.segments.values()):
                return node
            if any(router.l3 and router.l3.vtep == vtep for router in plan.routers.values()):
                return node
        return None


def _has(irb: Irb, ip: str) -> bool:
    return ip in {text.partition("/")[0] for text in irb.addresses}


def _lookup(rows: Rows, ip: str, column: str) -> str | None:
    high, low = ip_to_words(ip)
    found = rows[(rows["ip_high"] == high) & (rows["ip_low"] == low)]
    return int_to_mac(int(found[column][0])) if len(found) else None


def _words(rows: Rows, ip: str, column: str) -> str | None:
    high, low = ip_to_words(ip)
    found = rows[(rows["ip_high"] == high) & (rows["ip_low"] == low)]
    return words_to_ip(int(found[f"{column}_high"][0]), int(found[f"{column}_low"][0])) if len(found) else None


def _fdb(rows: Rows, mac: str) -> str | None:
    found = rows[rows["mac"] == mac_to_int(mac)]
    return words_to_ip(int(found["vtep_high"][0]), int(found["vtep_low"][0])) if len(found) else None
