"""The ARP relay of `arp: proxy` in data-plane networks: distributed gateways tell each other who is where. Sans-IO.

Every gateway has an IRB with a MAC of its own, and hosts know that MAC only. What a host asks for, its gateway answers
at once (the router's own stack does: proxy ARP) and re-sends to the other VTEPs, as if it were its own question:

    host 1 ─ask──▶ GW 1 ─ask, IRB 1's MAC──▶ tunnels ──▶ GW 2 ─ask, IRB 2's MAC──▶ its local ports
    GW 1 ◀─answer, IRB 2's MAC── tunnel ◀── GW 2 ◀─answer── host 4

so that GW 1 learns (host 4's IP → IRB 2's MAC, tunnel to GW 2) and GW 2 the same of host 1. The sender's IP stays; as
Ethernet source and as ARP sender hardware address stands the IRB that sends. A router that has a packet and no
neighbor asks the same way (`sought`), in the gateway's name, local ports too. Who is asked for and unknown is asked for
once in `HOLD` seconds; a question is not remembered longer, an address that nobody has not at all.

Not relayed, and nothing is learned from: probes for duplicates (RFC 5227), whose sender does not own the address yet;
what says another MAC than the frame's source; a local port that claims a gateway's address. ARP that came through a
tunnel goes to local ports only (split horizon).

A frame for one VTEP goes to the tunnels with that gateway's MAC, which the FDB leads there. Time is in seconds and
comes in; frames are octets from the destination MAC on, untagged. Whatever the octets, nothing is raised. RFC 826.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from weft.wire import arp, ethernet
from weft.wire.address import BROADCAST, ZERO_MAC
from weft.wire.arp import Arp
from weft.wire.bucket import Bucket
from weft.wire.errors import WireError
from weft.wire.ethernet import Ethernet
from weft.wire.relay_facts import UNKNOWN, Fact, Facts, Limits

HOLD = 5.0  # seconds in which an address is asked for once
FRESH = 5.0  # seconds for which a host that spoke need not be asked again
_QUESTIONS, _ASKERS = 8192, 16  # questions held, and who waits for the answer to one
_PORT = (1000.0, 100.0)  # frames read and questions relayed in a second, of one port of a host
_PEER = (4000.0, 400.0)  # the same of one VTEP or router, which speak for many hosts
_BURST = 2.0  # seconds' worth of them at once
_VERIFY = 100  # facts asked for in one tick


@dataclass(frozen=True, slots=True)
class Gateway:
    """An IRB of this node in the network: `name` of its port, MAC, addresses with prefix length (IPv4).

    `distributed`: other nodes have its addresses too, and it stands for all hosts behind this one.
    """

    name: str
    mac: str
    addresses: tuple[str, ...]
    distributed: bool


class Send(NamedTuple):
    """A frame to the tunnels, to one local port, or (`port` "") to all local ports of hosts."""

    frame: bytes
    tunnels: bool = False
    port: str = ""


@dataclass(slots=True)
class _Question:
    until: float
    ports: bool = False  # local ports were asked
    tunnels: bool = False
    askers: list[tuple[str, str]] = field(default_factory=list)  # (IP, MAC) behind tunnels


class Relay:
    """One network on one node. `age` in seconds. `dropped`: frames and questions beyond a limit."""

    def __init__(self, age: float, limits: Limits | None = None) -> None:
        self.facts = Facts(age, limits or Limits())
        self.dropped = 0
        self._gateways: dict[str, Gateway] = {}
        self._main: Gateway | None = None  # the distributed one, which relays
        self._own: dict[str, Gateway] = {}  # by IP
        self._macs: frozenset[str] = frozenset()
        self._subnets: tuple[ipaddress.IPv4Network, ...] = ()
        self._asked: dict[str, _Question] = {}  # in the order of `until`
        self._ports: frozenset[str] = frozenset()
        self._vteps: frozenset[str] = frozenset()
        self._frames: dict[str, Bucket] = {}  # by source
        self._asks: dict[str, Bucket] = {}

    def declare(self, gateways: Iterable[Gateway], ports: Collection[str], vteps: Collection[str]) -> None:
        """The IRBs and hosts' ports that are here now, and the other VTEPs.

        What was learned of others is forgotten, and they are not listened to.
        """
        self._gateways = {gateway.name: gateway for gateway in gateways}
        self._main = next((gateway for gateway in self._gateways.values() if gateway.distributed), None)
        stated = [
            (ipaddress.IPv4Interface(text), gateway)
            for gateway in self._gateways.values()
            for text in gateway.addresses
        ]
        self._own = {str(address.ip): gateway for address, gateway in stated}
        self._macs = frozenset(gateway.mac for gateway in self._gateways.values())
        self._subnets = tuple({address.network: None for address, _ in stated})
        self._ports, self._vteps = frozenset(ports), frozenset(vteps)
        self.facts.keep(self._ports, self._vteps)
        for ip in [ip for ip, _ in self.facts if not self._holds(ip)]:
            self.facts.forget(ip)
        known = {"", *self._ports, *self._vteps, *self._gateways}
        self._frames = {name: bucket for name, bucket in self._frames.items() if name in known}
        self._asks = {name: bucket for name, bucket in self._asks.items() if name in known}

    def adopt(self, rows: Mapping[str, Fact], now: float) -> None:
        """What an earlier relay has left in the routers' tables."""
        there = {"", *self._vteps}
        self.facts.adopt({ip: fact for ip, fact in rows.items() if self._holds(ip) and fact.vtep in there}, now)

    # In

    def from_port(self, port: str, frame: bytes, now: float) -> list[Send]:
        """A frame of a local port, a host's or an IRB's."""
        spoken = self._read(port, frame, now)
        if spoken is None:
            return []
        _, said = spoken
        if port in self._gateways:
            return self._announced(self._gateways[port], said, now)
        if said.sender_ip in self._own or said.sender_mac in self._macs or not self._holds(said.sender_ip):
            return []
        sends = self._learn(said.sender_ip, Fact(said.sender_mac, port=port), now)
        if said.operation != arp.REQUEST or self._main is None:
            return sends
        if said.gratuitous:
            return [*sends, *self._announce(self._main, said.sender_ip, port, now)]
        if not self._holds(said.target_ip) or self.facts.get(said.target_ip):
            return sends
        question = self._question(said.target_ip, port, now)
        return [*sends, *(self._ask(question, self._main, said.sender_ip, said.target_ip, tunnels=True))]

    def from_tunnel(self, vtep: str, frame: bytes, now: float) -> list[Send]:
        """A frame that came through a tunnel; `vtep` "" where nobody knows from which one."""
        spoken = self._read(vtep, frame, now) if not vtep or vtep in self._vteps else None
        if spoken is None:
            return []
        dst, said = spoken
        if dst != BROADCAST and dst not in self._macs:  # flooded, and for another
            return []
        if said.sender_mac in self._macs or not self._inside(said.sender_ip):
            return []
        sends: list[Send] = []
        if said.sender_ip not in self._own:  # the other gateways' address is ours too: it is known by this one
            sends = self._learn(said.sender_ip, Fact(said.sender_mac, vtep=vtep or UNKNOWN), now)
        if said.operation != arp.REQUEST or said.gratuitous:
            return sends
        return [*sends, *self._asked_for(vtep, dst, said, now)]

    def sought(self, name: str, ip: str, now: float) -> list[Send]:
        """The router behind an IRB has packets for an address, and no neighbor."""
        gateway = self._gateways.get(name)
        if gateway is None or not self._holds(ip) or self.facts.get(ip):
            return []
        question = self._question(ip, name, now)
        return self._ask(question, gateway, self._address(gateway, ip), ip, ports=True, tunnels=True)

    def expected(self, port: str, ip: str) -> list[Send]:
        """A port that is new here is said to have an address: if it was behind another node, the port is asked."""
        fact, asks = self.facts.get(ip), self._main
        if asks is None or fact is None or not fact.vtep:
            return []
        body = arp.request(asks.mac, self._address(asks, ip), ip).encode()
        return [Send(Ethernet(BROADCAST, asks.mac, ethernet.ARP).encode(body), port=port)]

    def tick(self, now: float) -> list[Send]:
        """What is due: facts that nobody has confirmed for long."""
        self._expire(now)
        sends: list[Send] = []
        asks = self._main or next(iter(self._gateways.values()), None)
        for ip, fact in self.facts.due(now, _VERIFY):
            if asks:
                body = arp.request(asks.mac, self._address(asks, ip), ip).encode()
                frame = Ethernet(fact.mac, asks.mac, ethernet.ARP).encode(body)
                sends.append(Send(frame, tunnels=bool(fact.vtep), port=fact.port))
        return sends

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called."""
        return self.facts.deadline

    # Out

    def _asked_for(self, source: str, dst: str, said: Arp, now: float) -> Iterator[Send]:
        """A question out of a tunnel: answered for a gateway that is here alone, and for hosts that spoke just now."""
        ip, asker = said.target_ip, (said.sender_ip, said.sender_mac)
        if own := self._own.get(ip):
            if not own.distributed or dst == own.mac:
                yield _answer(own, ip, asker)
            return
        fact = self.facts.get(ip)
        if self._main is None or not self._holds(ip):
            return
        if fact and not fact.vtep and (dst != BROADCAST or self.facts.confirmed(ip) + FRESH > now):
            yield _answer(self._main, ip, asker)
            return
        if fact and fact.mac == said.sender_mac:  # who we thought has it asks for it
            self.facts.forget(ip)
        question = self._question(ip, source, now)
        if question and asker not in question.askers and len(question.askers) < _ASKERS:
            question.askers.append(asker)
        yield from self._ask(question, self._main, said.sender_ip, ip, ports=True)

    def _question(self, ip: str, source: str, now: float) -> _Question | None:
        """The question that is held for an address, or a new one if its source may ask so often."""
        self._expire(now)
        found = self._asked.get(ip)
        if found is None:
            if len(self._asked) >= _QUESTIONS or not self._bucket(self._asks, source).take(now):
                self.dropped += 1
                return None
            found = self._asked[ip] = _Question(now + HOLD)
        return found

    def _ask(
        self,
        question: _Question | None,
        gateway: Gateway,
        sender: str,
        ip: str,
        *,
        ports: bool = False,
        tunnels: bool = False,
    ) -> list[Send]:
        """Asks where it was not asked yet."""
        if question is None:
            return []
        body = arp.request(gateway.mac, sender, ip).encode()
        frame = Ethernet(BROADCAST, gateway.mac, ethernet.ARP).encode(body)
        sends = [Send(frame)] if ports and not question.ports else []
        sends += [Send(frame, tunnels=True)] if tunnels and not question.tunnels else []
        question.ports |= ports
        question.tunnels |= tunnels
        return sends

    def _learn(self, ip: str, fact: Fact, now: float) -> list[Send]:
        """Answers who waits for it; where a host has come here from another node, tells the others."""
        before = self.facts.get(ip)
        if not self.facts.learn(ip, fact, now):
            self.dropped += 1
            return []
        question = self._asked.pop(ip, None)
        if not fact.port or self._main is None:
            return []
        sends = [_answer(self._main, ip, asker) for asker in question.askers] if question else []
        moved = before is not None and bool(before.vtep)
        return [*sends, *(self._announce(self._main, ip, fact.port, now) if moved else ())]

    def _announced(self, gateway: Gateway, said: Arp, now: float) -> list[Send]:
        """A gateway that has come to this node says so."""
        mine = self._own.get(said.sender_ip) is gateway and not gateway.distributed
        return self._announce(gateway, said.sender_ip, gateway.name, now) if mine and said.gratuitous else []

    def _announce(self, gateway: Gateway, ip: str, source: str, now: float) -> list[Send]:
        if not self._bucket(self._asks, source).take(now):
            self.dropped += 1
            return []
        body = arp.request(gateway.mac, ip, ip).encode()
        return [Send(Ethernet(BROADCAST, gateway.mac, ethernet.ARP).encode(body), tunnels=True)]

    # What is looked at

    def _read(self, source: str, frame: bytes, now: float) -> tuple[str, Arp] | None:
        """(destination, ARP) of a frame that may be believed; None else, and for what comes too fast."""
        if not self._bucket(self._frames, source).take(now):
            self.dropped += 1
            return None
        try:
            header, payload = Ethernet.decode(frame)
            if header.ethertype != ethernet.ARP or header.tags:
                return None
            said, _ = Arp.decode(payload)
        except WireError:
            return None
        mac = said.sender_mac
        if mac != header.src or mac == ZERO_MAC or int(mac[1], 16) & 1 or said.probe:
            return None
        return header.dst, said

    def _bucket(self, buckets: dict[str, Bucket], source: str) -> Bucket:
        if source not in self._ports and source not in self._vteps and source not in self._gateways:
            source = ""
        if source not in buckets:
            rates = _PORT if source in self._ports else _PEER
            rate = rates[buckets is self._asks]
            buckets[source] = Bucket(rate, _BURST * rate)
        return buckets[source]

    def _expire(self, now: float) -> None:
        while self._asked:
            ip = next(iter(self._asked))
            if self._asked[ip].until > now:
                return
            del self._asked[ip]

    def _inside(self, ip: str) -> bool:
        """Whether a host or a gateway of the network can have the address."""
        address = ipaddress.IPv4Address(ip)
        for subnet in self._subnets:
            if address in subnet:
                ends = subnet.prefixlen < 31 and address in (subnet.network_address, subnet.broadcast_address)
                return not ends
        return False

    def _holds(self, ip: str) -> bool:
        """Whether a host can have the address."""
        return ip not in self._own and self._inside(ip)

    def _address(self, gateway: Gateway, ip: str) -> str:
        """The gateway's address in the subnet of `ip`."""
        address = ipaddress.IPv4Address(ip)
        stated = [ipaddress.IPv4Interface(text) for text in gateway.addresses]
        return str(next((own.ip for own in stated if address in own.network), stated[0].ip))


def _answer(gateway: Gateway, ip: str, asker: tuple[str, str]) -> Send:
    to, mac = asker
    body = Arp(arp.REPLY, gateway.mac, ip, mac, to).encode()
    return Send(Ethernet(mac, gateway.mac, ethernet.ARP).encode(body), tunnels=True)
