"""rtnetlink for building many small namespaces fast: messages are queued and sent together, errors keep their names.

Device numbers are chosen by us (a fresh namespace has only `lo`, number 1), so nothing has to be looked up between a
link and its addresses. Layouts: linux/rtnetlink.h, linux/if_link.h; rtnetlink(7). Offloads: linux/ethtool.h.
"""

from __future__ import annotations

import array
import errno
import fcntl
import ipaddress
import os
import socket
import struct

from weft.model.errors import Kind, WeftError

NEWLINK, NEWADDR, NEWROUTE = 16, 20, 24
_REQUEST, _ACK, _EXCL, _CREATE = 0x01, 0x04, 0x200, 0x400
_ERROR = 2  # NLMSG_ERROR; code 0 is an acknowledgement
IFF_UP = 1
_ADDRESS, _IFNAME, _MTU, _MASTER, _LINKINFO, _NET_NS_FD = 1, 3, 4, 10, 18, 28
_INFO_KIND, _INFO_DATA = 1, 2
_BR_FORWARD_DELAY, _BR_STP_STATE, _BR_MCAST_SNOOPING = 1, 5, 23
_VETH_PEER = 1
_NODAD = 0x02
_SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, SSG, STSO, SGSO, SGRO: with these off, frames are seen as a NIC would send them
_OFFLOADS = (0x17, 0x19, 0x1F, 0x24, 0x2C)
_CHUNK = 60  # messages sent before their answers are read: well below any socket buffer


def attribute(kind: int, value: bytes | int | str) -> bytes:
    """One attribute: numbers are 32 bits, text ends with a zero; padded to four octets."""
    if isinstance(value, int):
        value = struct.pack("=I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


class Rtnl:
    """An rtnetlink socket of the namespace that the calling thread stands in, and the requests queued on it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0
        self._queue: list[tuple[bytes, str]] = []

    def close(self) -> None:
        self._socket.close()

    def set_up(self, index: int, what: str) -> None:
        self._request(NEWLINK, 0, _ifinfo(index), what)

    def add_bridge(self, index: int, name: str, mtu: int) -> None:
        """A bridge that forwards at once and floods multicast everywhere: a plain cable, no STP, no snooping."""
        data = attribute(_BR_STP_STATE, 0) + attribute(_BR_FORWARD_DELAY, 0)
        data += attribute(_BR_MCAST_SNOOPING, b"\0")
        body = _ifinfo(index) + attribute(_IFNAME, name) + attribute(_MTU, mtu) + _info("bridge", data)
        self._request(NEWLINK, _CREATE | _EXCL, body, f"bridge {name}")

    def add_veth(self, index: int, name: str, mtu: int, master: int, peer: bytes, mac: str | None = None) -> None:
        """A veth pair: this end here, up, on bridge `master` (0: none); `peer` from `veth_end`."""
        body = _ifinfo(index) + attribute(_IFNAME, name) + attribute(_MTU, mtu)
        body += attribute(_MASTER, master) if master else b""
        body += attribute(_ADDRESS, mac_bytes(mac)) if mac else b""
        body += _info("veth", attribute(_VETH_PEER, peer))
        self._request(NEWLINK, _CREATE | _EXCL, body, f"veth {name}")

    def add_address(self, index: int, address: str, what: str) -> None:
        """`address` with prefix length; usable at once (no duplicate address detection)."""
        interface = ipaddress.ip_interface(address)
        family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
        body = struct.pack("=BBBBI", family, interface.network.prefixlen, _NODAD, 0, index)
        body += attribute(1, interface.packed) + attribute(2, interface.packed)
        self._request(NEWADDR, _CREATE | _EXCL, body, f"address {address} of {what}")

    def add_route(self, to: str, via: str, what: str) -> None:
        network, gateway = ipaddress.ip_network(to), ipaddress.ip_address(via)
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        table, static, universe, unicast = 254, 4, 0, 1
        body = struct.pack("=8BI", family, network.prefixlen, 0, 0, table, static, universe, unicast, 0)
        body += attribute(1, network.network_address.packed) if network.prefixlen else b""
        body += attribute(5, gateway.packed)
        self._request(NEWROUTE, _CREATE | _EXCL, body, f"route {to} via {via} of {what}")

    def offloads_off(self, device: str) -> None:
        """Turns off what makes captures lie: checksums left to the NIC, and frames beyond the MTU."""
        for command in _OFFLOADS:
            value = array.array("B", struct.pack("=II", command, 0))
            request = struct.pack("@16sP", device.encode(), value.buffer_info()[0])
            fcntl.ioctl(self._socket, _SIOCETHTOOL, request.ljust(40, b"\0"))

    def flush(self) -> None:
        """Sends what is queued and waits for every answer; raises FAILED with the first refusal, naming the object."""
        queue, self._queue = self._queue, []
        failures: list[WeftError] = []
        for start in range(0, len(queue), _CHUNK):
            chunk = queue[start : start + _CHUNK]
            self._socket.send(b"".join(message for message, _ in chunk))
            first = self._sequence - len(queue) + start + 1
            waiting = len(chunk)
            while waiting:
                for sequence, code in _answers(self._socket.recv(65536)):
                    waiting -= 1
                    if code:
                        what = chunk[sequence - first][1]
                        failures.append(WeftError(Kind.FAILED, f"the kernel said: {os.strerror(code)}", where=what))
        if failures:
            raise failures[0]

    def _request(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, self._sequence, 0)
        self._queue.append((header + body, what))


def veth_end(index: int, name: str, mtu: int, mac: str, netns_fd: int) -> bytes:
    """The far end of a veth pair, in the namespace that the descriptor stands for; down, as veth cannot do else."""
    end = _ifinfo(index, 0) + attribute(_IFNAME, name) + attribute(_MTU, mtu) + attribute(_ADDRESS, mac_bytes(mac))
    return end + attribute(_NET_NS_FD, netns_fd)


def _ifinfo(index: int, flags: int = IFF_UP) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, IFF_UP)


def _info(kind: str, data: bytes) -> bytes:
    return attribute(_LINKINFO, attribute(_INFO_KIND, kind) + attribute(_INFO_DATA, data))


def _answers(data: bytes) -> list[tuple[int, int]]:
    """(sequence, errno) of each answer; errno 0 is success."""
    found = []
    position = 0
    while position + 16 <= len(data):
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, position)
        if kind == _ERROR:
            code = -struct.unpack_from("=i", data, position + 16)[0]
            found.append((sequence, code if code in errno.errorcode else errno.EIO if code else 0))
        position += (length + 3) & ~3
    return found
