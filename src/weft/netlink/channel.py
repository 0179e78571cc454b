"""A netlink socket inside a network namespace, and the three ways to talk over it.

request    one message, answered by an acknowledgement (or an error with the kernel's own words)
get        one message, answered by one object
dump       one message, answered by many, re-read where the kernel says that they changed meanwhile

All calls are plain and short, and need no event loop. One channel is used by one thread at a time.
RFC 3549; Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator

from weft.model.errors import Kind, WeftError
from weft.netlink import message as m
from weft.netlink import outside
from weft.netlink.namespace import Namespace, socket_in

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
_SOL_NETLINK = 270
_ADD_MEMBERSHIP, _LISTEN_ALL_NSID, _CAP_ACK, _EXT_ACK, _STRICT_CHECK = 1, 8, 10, 11, 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_RECEIVE = 1 << 18
_TRIES = 8


class NetlinkError(Exception):
    """The kernel's refusal of one message: `errno`, and its own words where it gave any."""

    def __init__(self, code: int, words: str = "") -> None:
        self.errno = code
        self.words = words or os.strerror(code).lower()
        super().__init__(self.words)


def failure(error: NetlinkError | OSError, where: str, doing: str, remedy: str = "") -> WeftError:
    """The kernel's refusal as the error that users meet."""
    words = error.words if isinstance(error, NetlinkError) else (error.strerror or str(error)).lower()
    if error.errno == errno.EPERM and not remedy:
        remedy = "run as root, or inside a user namespace"
    return WeftError(Kind.FAILED, f"cannot {doing}: {words}", where=where, remedy=remedy)


class Channel:
    """`namespace` None: the process's own. `groups`: multicast groups to listen to.

    `lender`: who lends a socket of the network outside (weft.netlink.outside); then `namespace` does not count.
    """

    def __init__(
        self,
        protocol: int = NETLINK_ROUTE,
        namespace: Namespace = None,
        groups: tuple[int, ...] = (),
        buffer: int = 0,
        lender: str | None = None,
    ) -> None:
        if lender is None:
            self.socket = socket_in(namespace, socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        else:
            self.socket = outside.make(lender, socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self.socket.bind((0, 0))
        for option in (_CAP_ACK, _EXT_ACK) + ((_STRICT_CHECK,) if protocol == NETLINK_ROUTE else ()):
            self.socket.setsockopt(_SOL_NETLINK, option, 1)
        for group in groups:
            self.join(group)
        if buffer:
            self._size(_SO_RCVBUFFORCE, socket.SO_RCVBUF, buffer)
            self._size(_SO_SNDBUFFORCE, socket.SO_SNDBUF, buffer)
        self.sequence = 0

    def _size(self, force: int, plain: int, octets: int) -> None:
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, force, octets)
        except PermissionError:  # in a user namespace: as much as the host allows
            self.socket.setsockopt(socket.SOL_SOCKET, plain, octets)

    def join(self, group: int) -> None:
        """Listens to a multicast group."""
        self.socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def close(self) -> None:
        self.socket.close()

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def port(self) -> int:
        """What the kernel calls this socket (nl_pid): neighbor notifications carry it where this socket caused them."""
        port: int = self.socket.getsockname()[0]
        return port

    def hear_everywhere(self) -> None:
        """Also hears groups of every namespace that this one has an id for; needs CAP_NET_BROADCAST, else as before."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)

    def send(self, kind: int, flags: int, body: bytes) -> int:
        self.sequence += 1
        self.socket.send(m.message(kind, flags | m.NLM_F_REQUEST, self.sequence, body))
        return self.sequence

    def request(self, kind: int, flags: int, body: bytes) -> None:
        """Raises NetlinkError."""
        sequence = self.send(kind, flags | m.NLM_F_ACK, body)
        for _ in self._replies(sequence):
            pass

    def together(self, *requests: tuple[int, int, bytes]) -> None:
        """Several requests (type, flags, body) in one send, which the kernel works off before the call returns.

        Whoever kills this process finds all of them done or none begun. Raises the first NetlinkError.
        """
        first = self.sequence + 1
        self.sequence += len(requests)
        flags = m.NLM_F_REQUEST | m.NLM_F_ACK
        self.socket.send(
            b"".join(
                m.message(kind, more | flags, sequence, body)
                for sequence, (kind, more, body) in enumerate(requests, first)
            )
        )
        errors: list[NetlinkError] = []
        for sequence in range(first, self.sequence + 1):
            try:
                for _ in self._replies(sequence):
                    pass
            except NetlinkError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def get(self, kind: int, body: bytes) -> bytes | None:
        """The object asked for; None where there is none."""
        sequence = self.send(kind, m.NLM_F_ACK, body)
        try:
            found = list(self._replies(sequence))
        except NetlinkError as error:
            if error.errno in (errno.ENODEV, errno.ENOENT):
                return None
            raise
        return found[-1] if found else None

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Bodies of all objects. Raises NetlinkError."""
        found: list[bytes] = []
        for _ in range(_TRIES):
            sequence = self.send(kind, m.NLM_F_DUMP, body)
            try:
                found = list(self._replies(sequence))
            except InterruptedDump:
                continue
            return found
        raise NetlinkError(errno.EAGAIN, "the objects change faster than they can be read")

    def datagrams(self, kind: int, body: bytes) -> list[bytes]:
        """A dump, undecoded: whole datagrams, the last ending in NLMSG_DONE. Raises NetlinkError."""
        for _ in range(_TRIES):
            sequence = self.send(kind, m.NLM_F_DUMP, body)
            found: list[bytes] = []
            while True:
                datagram = self.socket.recv(_RECEIVE)
                first, flags, of, body = next(m.messages(datagram))
                if of != sequence:
                    continue
                if first == m.NLMSG_ERROR:
                    raise _error(body, flags)
                found.append(datagram)
                if (done := _done(datagram)) is not None:
                    interrupted = bool(done & m.NLM_F_DUMP_INTR)
                    break
            if not interrupted:
                return found
        raise NetlinkError(errno.EAGAIN, "the objects change faster than they can be read")

    def heard(self) -> Iterator[tuple[int, int, bytes] | None]:
        """(type, port id of whose request caused it, body) of every notification that waits, None where some were lost;
        never blocks."""
        while True:
            try:
                datagram = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
            else:
                yield from m.notifications(datagram)

    def errors(self) -> Iterator[tuple[int, NetlinkError]]:
        """(sequence, error) of every refusal that waits; never blocks."""
        while True:
            try:
                datagram = self.socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            for kind, flags, sequence, body in m.messages(datagram):
                if kind == m.NLMSG_ERROR and (error := _error(body, flags)).errno:
                    yield sequence, error

    def _replies(self, sequence: int) -> Iterator[bytes]:
        interrupted = False
        while True:
            datagram = self.socket.recv(_RECEIVE)
            for kind, flags, of, body in m.messages(datagram):
                if of != sequence:  # what is left of an answer that nobody waited for
                    continue
                interrupted |= bool(flags & m.NLM_F_DUMP_INTR)
                if kind in (m.NLMSG_ERROR, m.NLMSG_DONE):
                    if (error := _error(body, flags)).errno:
                        raise error
                    if interrupted:
                        raise InterruptedDump
                    return
                yield body


class InterruptedDump(Exception):
    """The kernel's objects changed while they were read: read again."""


def _done(datagram: bytes) -> int | None:
    """The flags of the NLMSG_DONE that ends a datagram; it carries one integer, and nothing follows it."""
    if len(datagram) < 20:
        return None
    size, kind, flags = struct.unpack_from("=IHH", datagram, len(datagram) - 20)
    return flags if (size, kind) == (20, m.NLMSG_DONE) else None


_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSGERR_ATTR_MSG = 1


def _error(body: bytes, flags: int) -> NetlinkError:
    """struct nlmsgerr { int error; struct nlmsghdr msg; } and attributes (struct nlmsgerr_attrs); errno 0: an ack."""
    if len(body) < 4:
        return NetlinkError(0)
    (code,) = struct.unpack_from("=i", body)
    words = ""
    if flags & _NLM_F_ACK_TLVS and len(body) >= 20:
        offset = 20 if flags & _NLM_F_CAPPED else 4 + ((struct.unpack_from("=I", body, 4)[0] + 3) & ~3)
        words = m.to_text(m.parse(body, offset).get(_NLMSGERR_ATTR_MSG))
    return NetlinkError(-code, words)
