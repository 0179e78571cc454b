"""A client of a host's forwarder, which it finds, starts when there is work, and asks over one connection.

A second connection brings what the forwarder tells by itself. One descriptor serves to wait for it for good, whichever
forwarder there is.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
from pathlib import Path

import msgspec
import structlog

from weft.l2.datapath import Event
from weft.l2.user import control, count, process
from weft.l2.user.line import Line
from weft.model.errors import Kind, WeftError
from weft.netlink import namespace

log = structlog.get_logger("weft.user")


class Client:
    """`host`: the named network namespace that the host lives in, None for the process's own.

    `workers`: how many processes a forwarder that is started is to have, which it is told in any case; None: as the
    environment says, and no forwarder is told.
    """

    def __init__(self, cluster: str, host: str | None, workers: int | None = None) -> None:
        self._cluster, self._host, self._workers = cluster, host, workers
        self._line: Line | None = None
        self._alerts: socket.socket | None = None
        self.started: subprocess.Popen[bytes] | None = None
        self._waiting = select.epoll()
        self._pending = bytearray()

    @property
    def pid(self) -> int | None:
        """The forwarder's process, None where none runs."""
        return process.pid(self._directory())

    def ask(self, request: control.Request, start: bool) -> control.Answer | None:
        """The answer; None where no forwarder runs and none is to be started. Raises WeftError."""
        message = control.pack(request)
        if self._line is not None and self.pid is None:
            self._disconnect()
        for fresh in (False, True):  # a connection that was there already may have died since
            if self._line is None:
                fresh = True
                self._attach(self.find())
                if self._line is None and start:
                    workers = self._workers or count.workers()
                    connection, self.started = process.start(self._directory(), self._cluster, self._host, workers)
                    self._attach(connection)
            if self._line is None:
                break
            try:
                self._line.send(message)
                answer = self._line.answer()
            except TimeoutError:
                self._disconnect()
                if self.pid is not None:
                    raise process.hung(self._directory()) from None
                answer = None  # it was killed
            except (OSError, ValueError, msgspec.DecodeError):
                answer = None
            if isinstance(answer, control.Failure):
                raise answer.error()
            if answer is not None:
                return answer
            self._disconnect()
            if fresh:
                break
        if not start:
            return None
        raise WeftError(Kind.UNREACHABLE, "the forwarder ended while it was asked", where="user datapath")

    def change(self, steps: tuple[control.Step, ...]) -> dict[int, WeftError]:
        """Makes changes, starting a forwarder if need be; index of a step that failed → why. Raises WeftError."""
        answer = self.ask(control.Apply(steps), start=True)
        failures = answer.failures if isinstance(answer, control.Done) else ()
        return {failure.step: failure.error() for failure in failures}

    def events(self) -> list[Event]:
        """What the forwarder told, and its end."""
        found: list[Event] = []
        if self._alerts is not None:
            try:
                while more := self._alerts.recv(65536):
                    self._pending += more
                ended = True
            except BlockingIOError:
                ended = False
            except OSError:
                ended = True
            if ended:
                self._deafen()
                found.append(self._broke("the forwarder ended"))
        return [*found, *self._told()]

    def events_fd(self) -> int:
        """Readable when `events` has something."""
        with contextlib.suppress(WeftError):  # it hangs, as whoever asks it is told
            self._attach(self.find())
        return self._waiting.fileno()

    def close(self) -> None:
        """The forwarder goes on."""
        if self._line is not None:
            self._line.close()
        self._line = None
        self._deafen()
        self._waiting.close()

    def stop(self) -> None:
        """Ends the forwarder, and with it everything that it forwards; none there is no error.

        Returns when its ports can be bound by another program.
        """
        self._deafen()
        there = self._host is None or namespace.exists(self._host)
        with process.outlived(self.pid if there else None):
            self.ask(control.Stop(), start=False)
            self._disconnect()
        if self.started is not None:
            self.started.wait()
            self.started = None

    def _directory(self) -> Path:
        return process.run_directory(self._cluster, self._host)

    def find(self) -> socket.socket | None:
        """A connection to the forwarder; None where none runs, or the host's namespace is gone. Raises WeftError."""
        if self._host is not None and not namespace.exists(self._host):
            return None
        return process.connect(self._directory())

    def _attach(self, connection: socket.socket | None) -> None:
        """Takes a connection to ask over, and listens to alerts over another one."""
        if connection is None:
            return
        if self._line is not None or (pinged := self.find()) is None:
            connection.close()
            return
        self._line = Line(connection, pinged)
        if self._alerts is None and (alerts := self.find()):
            try:
                alerts.sendall(control.pack(control.Listen(self._workers or 0)))
                heard = control.receive(alerts)
            except OSError:  # it is about to end
                heard = None
            if heard is None:
                alerts.close()
                return
            alerts.setblocking(False)
            self._alerts = alerts
            self._pending.clear()
            self._waiting.register(alerts.fileno(), select.EPOLLIN)

    def _disconnect(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
        if self.started is not None and self.started.poll() is not None:
            self.started = None

    def _deafen(self) -> None:
        if self._alerts is not None:
            self._waiting.unregister(self._alerts.fileno())
            self._alerts.close()
            self._alerts = None

    def _told(self) -> list[Event]:
        """Whole messages among what came over the alert connection."""
        alerts = [each for each in control.messages(self._pending) if isinstance(each, control.Alert)]
        return [Event(each.what, each.key) if each.key else self._broke(each.what) for each in alerts]

    def _broke(self, what: str) -> Event:
        """Tells people, since all that is seen of it otherwise is what is put back."""
        with contextlib.suppress(OSError, WeftError):  # the host may be gone, and all with it
            log.error("forwarder", what=what, said=process.last_words(self._directory()))
        return Event(what)
