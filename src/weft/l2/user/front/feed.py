"""What the front hands to a worker beside requests: connections, and receiving sockets (SCM_RIGHTS, unix(7)).

Each message is one packet of a SOCK_SEQPACKET pair and answered by one octet. The end of the front, in whatever way, is
the end of this connection, and of the worker.
"""

from __future__ import annotations

import contextlib
import socket
import threading

import msgspec

from weft.l2.user.forwarding import Forwarding
from weft.l2.user.front.sockets import Name
from weft.l2.user.front.strays import Strays
from weft.l2.user.receiver import Arrival
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey

_PATIENCE = 20.0  # seconds for a worker to start
_LONGEST = 1 << 16


class Connect(msgspec.Struct, frozen=True, tag=True):
    """With one end of a connection for requests."""


class Lend(msgspec.Struct, frozen=True, tag=True):
    """With a receiving socket."""

    name: Name


class Withdraw(msgspec.Struct, frozen=True, tag=True):
    name: Name


class Watch(msgspec.Struct, frozen=True, tag=True):
    """Hear what is said in these; whom to tell comes with the next message."""

    segments: tuple[SegmentKey, ...]


class Tell(msgspec.Struct, frozen=True, tag=True):
    """With the connection of the one who watches."""


Message = Connect | Lend | Withdraw | Watch | Tell
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class Feed:
    """The front's end. All raise OSError where the worker is gone or does not answer."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(_PATIENCE)
        self._lock = threading.Lock()

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._put(Connect(), theirs)
        return ours

    def lend(self, name: Name, receiver: socket.socket) -> None:
        self._put(Lend(name), receiver)

    def withdraw(self, name: Name) -> None:
        self._put(Withdraw(name))

    def watch(self, segments: frozenset[SegmentKey]) -> None:
        self._put(Watch(tuple(sorted(segments))))

    def tell(self, client: socket.socket) -> None:
        self._put(Tell(), client)

    def within(self, seconds: float) -> None:
        """How long the worker may take from now on."""
        self._connection.settimeout(seconds)

    def close(self) -> None:
        self._connection.close()

    def _put(self, message: Message, *sockets: socket.socket) -> None:
        with self._lock:
            try:
                socket.send_fds(self._connection, [_encoder.encode(message)], [each.fileno() for each in sockets])
                answered = self._connection.recv(1)
            except TimeoutError:
                self._connection.shutdown(socket.SHUT_RDWR)  # a late answer would be taken for that to the next one
                raise
            if not answered:
                raise ConnectionResetError("the worker ended")


class Fed:
    """The worker's end: a listener for weft.l2.user.server, and the receivers for weft.l2.user.underlay."""

    def __init__(self, connection: socket.socket, strays: Strays) -> None:
        self._connection, self._strays = connection, strays
        self._lent: dict[Name, socket.socket] = {}
        self.forwarding: Forwarding | None = None  # that watches
        self._turn = 0

    def settimeout(self, value: float) -> None:
        self._connection.settimeout(value)

    def accept(self) -> tuple[socket.socket, object]:
        """Raises TimeoutError; EOFError where the front is gone."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self._connection, _LONGEST, 1)
            if not data:
                raise EOFError("the front is gone")
            handed = [socket.socket(fileno=fd) for fd in descriptors]
            message = _decoder.decode(data)
            match message:
                case Lend(name):
                    self._take(name, handed[0])
                case Withdraw(name):
                    self._take(name, None)
                case Watch(segments) if self.forwarding:
                    self._turn = self.forwarding.watch(frozenset(segments))
                case Tell():
                    threading.Thread(target=self._tell, args=(handed[0], self._turn), daemon=True).start()
            self._connection.send(b"\1")
            if isinstance(message, Connect):
                return handed[0], None

    def _tell(self, client: socket.socket, turn: int) -> None:
        with client, contextlib.suppress(OSError):
            if self.forwarding:
                self.forwarding.tell(client, turn)

    def _take(self, name: Name, lent: socket.socket | None) -> None:
        if before := self._lent.pop(name, None):
            before.close()
        if lent is not None:
            lent.setblocking(False)
            self._lent[name] = lent

    def unicast(self, vtep: str, port: int) -> socket.socket:
        return self._found(Name(vtep, port))

    def group(self, vtep: str, port: int, group: str, interface: int) -> socket.socket:
        return self._found(Name(vtep, port, group))

    def own(self, vtep: str, port: int, arrival: Arrival, buffer: memoryview) -> Arrival:
        return self._strays.own(vtep, port, arrival, buffer)

    def _found(self, name: Name) -> socket.socket:
        if name not in self._lent:
            raise WeftError(
                Kind.FAILED, "the front has lent no socket", where=f"{name.group or name.vtep} port {name.port}"
            )
        return self._lent[name].dup()
