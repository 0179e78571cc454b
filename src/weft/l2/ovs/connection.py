"""An OpenFlow connection to one bridge, by its management socket `<rundir>/<bridge>.mgmt`."""

from __future__ import annotations

from pathlib import Path

from weft.l2.ovs.openflow import ECHO_REPLY, ECHO_REQUEST, HELLO, Message, Stream
from weft.l2.ovs.rpc import connect, lost
from weft.model.errors import WeftError

_PATIENCE = 5.0  # seconds that a busy switch may let a message wait


class Connection:
    """`greeting`: what is said first. Raises UNREACHABLE where there is no such bridge."""

    def __init__(self, bridge: Path, greeting: bytes) -> None:
        self._path = bridge
        self._socket = connect(bridge, _PATIENCE)
        self._stream = Stream()
        self.send(greeting)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, octets: bytes) -> None:
        """Raises UNREACHABLE where nobody is there any more; the connection is of no use then."""
        self._socket.settimeout(_PATIENCE)
        try:
            self._socket.sendall(octets)
        except OSError as error:
            raise lost(self._path, error) from error

    def read(self, reads: int = 1 << 10) -> list[Message] | None:
        """What has come, `reads` times 256 KiB of it, never waits; None: the bridge, or the switch, is gone.

        Whether we are still there is answered here.
        """
        self._socket.settimeout(0)
        found: list[Message] = []
        for _ in range(reads):
            try:
                octets = self._socket.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError:
                return None
            if not octets:
                return None
            found += self._stream.feed(octets)
        try:
            for message in found:
                if message.kind == ECHO_REQUEST:
                    self.send(Message(ECHO_REPLY, message.body, message.transaction).encode())
        except WeftError:
            return None
        return None if self._stream.broken else found


class Sender:
    """Sends to a bridge, by a connection that is made when it is wanted, and anew where it was lost."""

    def __init__(self, bridge: Path) -> None:
        self._path = bridge
        self._connection: Connection | None = None

    def send(self, octets: bytes) -> None:
        """Raises UNREACHABLE."""
        if self._connection is not None:
            try:
                if self._connection.read() is not None:
                    self._connection.send(octets)
                    return
            except WeftError:
                pass  # as if it had been seen to be lost
            self.close()
        self._connection = Connection(self._path, Message(HELLO, b"").encode())
        self._connection.send(octets)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
