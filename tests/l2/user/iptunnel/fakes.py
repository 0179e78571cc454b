"""A tunnel without a kernel: a device that packets are put into and taken from, an underlay that keeps what is sent."""

from __future__ import annotations

from collections.abc import Sequence

from weft.l2.user import vnet
from weft.l2.user.iptunnel.state import TunnelState
from weft.l2.user.underlay import Underlay
from weft.plan import tables
from weft.plan.iptunnel import IpTunnel


class FakeDevice:
    """`put`: what the stack sends, offload header first; `taken`: what it was given."""

    fd = -1

    def __init__(self) -> None:
        self.put: list[bytes] = []
        self.taken: list[bytes] = []

    def read(self, buffer: memoryview) -> int:
        if not self.put:
            return 0
        data = self.put.pop(0)
        buffer[: len(data)] = data
        return len(data)

    def write(self, parts: Sequence[bytes | memoryview]) -> None:
        self.taken.append(b"".join(parts))

    def close(self) -> None:
        pass


class FakeUnderlay(Underlay):
    """`sent`: (VTEP, payload) of every datagram, trains cut; `calls`: octets and size of every train."""

    trains = True

    def __init__(self, most: int = 44) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.calls: list[tuple[int, int]] = []
        self._most = most

    def most(self, size: int) -> int:
        return self._most * size

    def send(self, bucket: int, vtep: str, parts: Sequence[bytes | memoryview], tos: int) -> None:
        self.sent.append((vtep, b"".join(parts)))

    def send_segments(
        self, bucket: int, vtep: str, parts: Sequence[bytes | memoryview], octets: int, size: int, tos: int
    ) -> None:
        whole = b"".join(parts)
        assert len(whole) == octets
        self.calls.append((octets, size))
        self.sent += [(vtep, whole[at : at + size]) for at in range(0, octets, size)]


def tunnel(own: str, routes: Sequence[tuple[str, str]]) -> tuple[TunnelState, FakeDevice, FakeUnderlay]:
    value = IpTunnel("flannel0", f"{own}/32", "10.6.0.0/16", "172.31.99.11", 8285, 1472)
    device, underlay = FakeDevice(), FakeUnderlay()
    state = TunnelState(value, device, underlay)
    state.routes.put(tables.routes(routes))
    return state, device, underlay


def plain(packet: bytes) -> bytes:
    """A packet as a device hands it over when it stands for itself."""
    return vnet.PLAIN + packet
