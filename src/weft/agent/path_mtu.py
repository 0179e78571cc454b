"""What the underlay carries to each peer VTEP: path MTU discovery with a few UDP datagrams that may not be fragmented.

A datagram as large as the local device allows goes to the peer's VXLAN port with DF set (RFC 1191; IPv6 always, RFC
8201). Where a router has a narrower link behind it, its "too big" teaches the kernel the path's MTU, which is then
read from the socket (ip(7), IP_MTU) and tried in turn. The octets are zeros: without its I flag no VTEP takes them for
VXLAN (RFC 7348 section 5). What filters ICMP cannot be seen this way. At most `ROUNDS` datagrams go to a peer.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from weft.model.address import is_ipv6
from weft.netlink import outside

ROUNDS = 4
PEERS_MAX = 64
_PATIENCE = 0.4  # seconds to wait for "too big" in a round, for all peers together
_UDP_HEADER = 8
_IPV4 = (socket.IPPROTO_IP, 10, 14)  # level, IP_MTU_DISCOVER, IP_MTU: include/uapi/linux/in.h
_IPV6 = (socket.IPPROTO_IPV6, 23, 24)  # the same of include/uapi/linux/in6.h
_DO = 2  # IP_PMTUDISC_DO, IPV6_PMTUDISC_DO


@dataclass(frozen=True, slots=True)
class PathMtu:
    """`mtu`: octets of the largest outer IP packet, None where the peer cannot be reached, with `why`.

    `refused`: the peer answered that nothing listens on that port.
    """

    mtu: int | None
    why: str = ""
    refused: bool = False


def probe(source: str, peers: Mapping[str, tuple[str, int]], device_mtu: int) -> dict[str, PathMtu]:
    """Name → what is found for each peer (address, UDP port); all at once, `ROUNDS` × 0.4 s at most."""
    paths: dict[str, _Path] = {}
    found: dict[str, PathMtu] = {}
    try:
        for name, (address, port) in list(peers.items())[:PEERS_MAX]:
            try:
                paths[name] = _Path(source, address, port, device_mtu)
            except OSError as error:
                found[name] = PathMtu(None, error.strerror or str(error))
        for _ in range(ROUNDS):
            sent = [path for path in paths.values() if path.send()]
            if not sent:
                break
            _wait(sent)
    finally:
        for path in paths.values():
            path.socket.close()
    return found | {name: path.result() for name, path in paths.items()}


class _Path:
    """One connected socket towards one peer."""

    def __init__(self, source: str, address: str, port: int, device_mtu: int) -> None:
        ipv6 = is_ipv6(address)
        self._headers = (40 if ipv6 else 20) + _UDP_HEADER
        self._level, discover, self._option = _IPV6 if ipv6 else _IPV4
        self.mtu, self._tried = device_mtu, 0
        self._why, self._refused = "", False
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self.socket = outside.make(outside.lender(), family, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(self._level, discover, _DO)
            self.socket.bind((source, 0))
            self.socket.connect((address, port))
            self.learn()
        except OSError:
            self.socket.close()
            raise

    def send(self) -> bool:
        """Sends the largest datagram not tried yet; False where nothing is left to try."""
        if self._why or self._refused or self._tried == self.mtu:
            return False
        self._tried = self.mtu
        try:
            self.socket.send(bytes(self.mtu - self._headers))
        except OSError as error:
            self._take(error)
        return True

    def learn(self) -> None:
        """Takes over what the kernel knows of the path by now, and an error that is waiting."""
        waiting = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if waiting:
            self._take(OSError(waiting, ""))
        self._read()

    def result(self) -> PathMtu:
        return PathMtu(None, self._why) if self._why else PathMtu(self.mtu, refused=self._refused)

    def _take(self, error: OSError) -> None:
        if error.errno == errno.ECONNREFUSED:
            self._refused = True
        elif error.errno == errno.EMSGSIZE:
            self._read()
        else:
            self._why = os.strerror(error.errno or 0).lower()

    def _read(self) -> None:
        self.mtu = min(self.mtu, self.socket.getsockopt(self._level, self._option))


def _wait(paths: list[_Path]) -> None:
    """Until every path has answered with an error, or the patience is over; no answer means that it went through."""
    deadline = time.monotonic() + _PATIENCE
    poll = select.poll()
    by_fd = {path.socket.fileno(): path for path in paths}
    for fd in by_fd:
        poll.register(fd, select.POLLERR)
    while by_fd and (left := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            poll.unregister(fd)
            by_fd.pop(fd).learn()
    for path in by_fd.values():  # "too big" is no error of a socket without IP_RECVERR: the kernel just knows now
        path.learn()
