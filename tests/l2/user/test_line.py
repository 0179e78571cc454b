"""A process that hangs is told from one that works, by its pings."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from weft.l2.user import control
from weft.l2.user.line import Line

PING, DONE = control.pack(control.Ping()), control.pack(control.Done())


@contextlib.contextmanager
def line() -> Iterator[tuple[Line, socket.socket, socket.socket]]:
    """With the other ends: of what is asked, and of pings."""
    (ours, asked), (beats, pinged) = socket.socketpair(), socket.socketpair()
    made = Line(ours, beats)
    with asked, pinged:
        pinged.settimeout(20)
        yield made, asked, pinged
        made.close()


def test_one_that_says_nothing_is_pinged_once_and_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.05)
    with line() as (made, asked, pinged):
        made.send(PING)
        assert asked.recv(100) == PING
        with pytest.raises(TimeoutError):
            made.answer()
        assert pinged.recv(100) == PING


def test_one_that_answers_pings_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 2.0)
    with line() as (made, asked, pinged):

        def work() -> None:
            for _ in range(6):  # PATIENCE is over
                assert pinged.recv(100) == PING
                pinged.sendall(DONE)
            asked.sendall(DONE)

        worker = threading.Thread(target=work)
        worker.start()
        made.send(PING)
        assert made.answer() == control.Done()
        worker.join()


def test_it_has_patience_anew_with_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with line() as (made, asked, _):
        monkeypatch.setattr(control, "PATIENCE", 0.05)
        made.send(PING)
        with pytest.raises(TimeoutError):
            made.answer()
        asked.sendall(DONE)
        assert made.answer() == control.Done()


def test_one_that_takes_nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.05)
    with line() as (made, _, _), pytest.raises(TimeoutError):
        made.send(bytes(1 << 24))


def test_one_that_ended_says_so() -> None:
    with line() as (made, asked, pinged):
        made.send(PING)
        asked.close()
        pinged.close()
        with contextlib.suppress(ConnectionResetError):
            assert made.answer() is None
