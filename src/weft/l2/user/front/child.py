"""One worker process, as the front sees it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import msgspec
import structlog

from weft.l2.user import control
from weft.l2.user.front.feed import Feed
from weft.l2.user.front.sockets import Name
from weft.l2.user.front.strays import LONGEST
from weft.l2.user.line import Line
from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey

_PATIENCE = 10.0  # seconds for a worker to end

log = structlog.get_logger("weft.user")


class Child:
    """Started by making it. `told` is called with its alerts, `passed` with messages of weft.l2.user.front.strays,
    `ended` once, at its end, all by threads of its own.

    Raises WeftError where it does not start.
    """

    def __init__(
        self,
        number: int,
        cluster: str,
        inherited: int,
        told: Callable[[control.Alert], None],
        passed: Callable[[bytes], None],
        ended: Callable[[Child], None],
    ) -> None:
        self.number = number
        self.lent: set[Name] = set()
        self.worked = time.monotonic()  # when it was last seen to have a segment
        self._told, self._passed, self._ended = told, passed, ended
        feed, feed_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.strays, strays_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._feed = Feed(feed)
        handed = (feed_end.fileno(), strays_end.fileno())
        command = [sys.executable, "-m", "weft.l2.user.front.process", *map(str, handed), "--cluster", cluster]
        with feed_end, strays_end:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(*handed, inherited), cwd="/")
        try:
            self._line = Line(self._feed.connect(), self._feed.connect())
            self._alerts = self._feed.connect()
            self._feed.within(control.PATIENCE)
            self._alerts.sendall(control.pack(control.Listen()))
            control.receive(self._alerts)
        except OSError as error:
            self.kill()
            where = f"worker {number} of the forwarder"
            raise WeftError(
                Kind.FAILED, f"does not start: {error}", where=where, remedy="see the forwarder's log"
            ) from error
        for each in (self._hear, self._pass):
            threading.Thread(target=each, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, request: control.Request) -> None:
        """Whose answer is to be read then."""
        with contextlib.suppress(OSError), self._alive():
            self._line.send(control.pack(request))

    def answer(self) -> control.Answer | None:
        """Of what was sent; None: it ended, or hung and was ended."""
        with contextlib.suppress(OSError, ValueError, msgspec.DecodeError), self._alive():
            return self._line.answer()
        return None

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        """Ends the worker if it turns out to hang in the block."""
        try:
            yield
        except TimeoutError:
            log.error("a worker hangs and is ended", worker=self.number, pid=self.pid)
            self._process.kill()
            raise

    def ask(self, request: control.Request) -> control.Answer | None:
        self.send(request)
        return self.answer()

    def lend(self, name: Name, receiver: socket.socket) -> None:
        """Raises OSError."""
        with self._alive():
            self._feed.lend(name, receiver)
        self.lent.add(name)

    def watch(self, segments: frozenset[SegmentKey]) -> None:
        """Raises OSError."""
        with self._alive():
            self._feed.watch(segments)

    def tell(self, client: socket.socket) -> None:
        """Raises OSError."""
        with self._alive():
            self._feed.tell(client)

    def keep(self, needed: set[Name]) -> None:
        """Takes back what is not needed."""
        for name in self.lent - needed:
            with contextlib.suppress(OSError), self._alive():
                self._feed.withdraw(name)
        self.lent &= needed

    def stopped(self) -> None:
        """After Stop was sent: what would outlive it is removed."""
        self.answer()
        self.kill(_PATIENCE)

    def gone(self, until: float) -> bool:
        """Whether it has ended by then (monotonic clock), and its devices with it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, until - time.monotonic()))
            return True
        return False

    def kill(self, patience: float = 0.0) -> None:
        """Ends it, if it has not ended within so many seconds."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """When it ends; returns when it is gone."""
        self.kill()
        for each in (self._line, self._alerts, self.strays):
            each.close()
        self._feed.close()

    def _hear(self) -> None:
        with contextlib.suppress(OSError, ValueError, msgspec.DecodeError):
            while isinstance(message := control.receive(self._alerts), control.Alert):
                self._told(message)
        self._ended(self)

    def _pass(self) -> None:
        with contextlib.suppress(OSError):
            while message := self.strays.recv(LONGEST):
                self._passed(message)
