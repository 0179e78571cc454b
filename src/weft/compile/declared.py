"""What the declarations of one network say: views of the ports' columns, and what is worth keeping of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from weft.compile.columns import NO_MAC, column
from weft.compile.ports import Ports
from weft.model.port import Port


@dataclass(frozen=True, slots=True)
class Declared:
    """Ports by MAC, MACs by IP, addresses of gateways, ports by node (their number).

    `unique`: no two ports share a MAC or an IP, and all are written as weft writes them."""

    macs: ByMac
    ips: ByIp
    gateways: frozenset[str]
    nodes: Counter[str]
    unique: bool

    @staticmethod
    def of(ports: Ports, network: str, gateways: frozenset[str]) -> Declared:
        rows = ports.rows(network)
        numbers, counts = np.unique(column(ports.nodes)[rows], return_counts=True)
        names = ports.names.things
        nodes = Counter({names[number]: count for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)})
        macs = column(ports.macs)[rows]
        macs = macs[macs != NO_MAC]
        _, high, low = ports.addresses(rows)
        alone = len(np.unique(macs)) == len(macs) and _distinct(high, low)
        return Declared(
            ByMac(ports, network), ByIp(ports, network), gateways, nodes, alone and not ports.has_odd(network)
        )

    def replace(self, before: Port | None, port: Port | None) -> None:
        """One port instead of another, where all are unique and stay so."""
        if before is not None:
            self.nodes[before.node] -= 1
            if not self.nodes[before.node]:
                del self.nodes[before.node]
        if port is not None:
            self.nodes[port.node] += 1


def _distinct(high: np.ndarray, low: np.ndarray) -> bool:
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    return not np.any((high[1:] == high[:-1]) & (low[1:] == low[:-1]))


class ByMac(Mapping[str, Port]):
    """MAC → port; of several the one that came last."""

    def __init__(self, ports: Ports, network: str) -> None:
        self._ports, self._network = ports, network

    def __getitem__(self, mac: str) -> Port:
        rows = self._ports.with_mac(self._network, mac)
        if not rows or not mac:
            raise KeyError(mac)
        return self._ports.at(rows[-1])

    def __contains__(self, mac: object) -> bool:
        return isinstance(mac, str) and mac != "" and bool(self._ports.with_mac(self._network, mac))

    def __iter__(self) -> Iterator[str]:
        ports = map(self._ports.at, self._ports.rows(self._network).tolist())
        return iter(dict.fromkeys(port.mac for port in ports if port.mac))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ByIp(Mapping[str, str]):
    """IP → MAC of the port that declares it; of several the one that came last."""

    def __init__(self, ports: Ports, network: str) -> None:
        self._ports, self._network = ports, network

    def __getitem__(self, ip: str) -> str:
        rows = self._ports.with_ip(self._network, ip)
        if not rows:
            raise KeyError(ip)
        return self._ports.mac_of(rows[-1])

    def __contains__(self, ip: object) -> bool:
        return isinstance(ip, str) and bool(self._ports.with_ip(self._network, ip))

    def __iter__(self) -> Iterator[str]:
        ports = map(self._ports.at, self._ports.rows(self._network).tolist())
        return iter(dict.fromkeys(ip for port in ports for ip in port.ips))

    def __len__(self) -> int:
        return sum(1 for _ in self)
