"""Relays of several nodes joined by tunnels, and hosts behind them that answer ARP; time is what the test says."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from weft.wire import arp
from weft.wire.address import BROADCAST
from weft.wire.arp import Arp
from weft.wire.ethernet import ARP, Ethernet
from weft.wire.relay import Gateway, Relay, Send

AGE = 300.0


def host_mac(ip: str) -> str:
    *_, third, last = ip.split(".")
    return f"02:00:00:00:{int(third):02x}:{int(last):02x}"


def request(mac: str, sender: str, target: str) -> bytes:
    return Ethernet(BROADCAST, mac, ARP).encode(arp.request(mac, sender, target).encode())


def read(frame: bytes) -> tuple[Ethernet, Arp]:
    header, payload = Ethernet.decode(frame)
    return header, Arp.decode(payload)[0]


@dataclass
class Node:
    """`hosts`: IP → port of those that are alive here."""

    name: str
    gateway: Gateway
    relay: Relay
    hosts: dict[str, str] = field(default_factory=dict)


@dataclass
class Fabric:
    """`wire`: what crossed tunnels, `heard`: what hosts were told, one line a frame."""

    nodes: dict[str, Node] = field(default_factory=dict)
    wire: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    now: float = 1000.0

    def add(self, name: str, address: str, *, distributed: bool = True, hosts: tuple[str, ...] = ()) -> Node:
        gateway = Gateway(f"r/{name}", f"0a:00:00:00:00:{len(self.nodes) + 1:02x}", (address,), distributed)
        node = Node(name, gateway, Relay(AGE), {ip: f"p{ip}" for ip in hosts})
        self.nodes[name] = node
        for each in self.nodes.values():
            each.relay.declare([each.gateway], set(each.hosts.values()), set(self.nodes) - {each.name})
        return node

    def say(self, node: str, frame: bytes, port: str = "") -> None:
        """A host of the node sends a frame; everything that follows happens."""
        _, said = read(frame)
        at = self.nodes[node]
        self.run(node, at.relay.from_port(port or at.hosts[said.sender_ip], frame, self.now))

    def ask(self, node: str, sender: str, target: str) -> None:
        self.say(node, request(host_mac(sender), sender, target))

    def seek(self, node: str, ip: str) -> None:
        at = self.nodes[node]
        self.run(node, at.relay.sought(at.gateway.name, ip, self.now))

    def run(self, node: str, sends: list[Send]) -> None:
        waiting = deque((node, send) for send in sends)
        while waiting:
            at, send = waiting.popleft()
            waiting += self._tunnels(at, send.frame) if send.tunnels else self._ports(at, send)

    def tick(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 1
            for name, node in self.nodes.items():
                self.run(name, node.relay.tick(self.now))

    def _tunnels(self, source: str, frame: bytes) -> list[tuple[str, Send]]:
        header, said = read(frame)
        found: list[tuple[str, Send]] = []
        for name, node in self.nodes.items():
            if name != source and header.dst in (BROADCAST, node.gateway.mac):
                self.wire.append(f"{source}>{name} {self._line(header, said)}")
                found += [(name, send) for send in node.relay.from_tunnel(source, frame, self.now)]
        return found

    def _ports(self, at: str, send: Send) -> list[tuple[str, Send]]:
        header, said = read(send.frame)
        found: list[tuple[str, Send]] = []
        for ip, port in self.nodes[at].hosts.items():
            if send.port not in ("", port):
                continue
            self.heard.append(f"{ip} {self._line(header, said)}")
            if said.operation == arp.REQUEST and said.target_ip == ip and header.dst in (BROADCAST, host_mac(ip)):
                answer = Ethernet(header.src, host_mac(ip), ARP).encode(arp.reply(said, host_mac(ip)).encode())
                found += [(at, each) for each in self.nodes[at].relay.from_port(port, answer, self.now)]
        return found

    def _line(self, header: Ethernet, said: Arp) -> str:
        """Operation, IPs, and the two places where the sender's MAC stands, which must be one."""
        assert header.src == said.sender_mac
        irb = next((name for name, node in self.nodes.items() if node.gateway.mac == header.src), header.src)
        to = "all" if header.dst == BROADCAST else "one"
        return f"{'ask' if said.operation == arp.REQUEST else 'answer'} {said.sender_ip}>{said.target_ip} {irb} {to}"
