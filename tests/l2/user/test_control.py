"""What crosses the control socket comes out as it went in."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from weft.l2.user import control
from weft.l2.user.receiver import Own
from weft.l2.user.server import Server, listen
from weft.l2.user.worker import Worker
from weft.model.errors import Kind, WeftError
from weft.model.network import Arp, SegmentKey
from weft.model.port import Attach, AttachKind
from weft.plan import tables
from weft.plan.iptunnel import DropRoutes, DropTunnel, IpTunnel, PutRoutes, PutTunnel
from weft.plan.operations import DropPort, DropRows, DropSegment, PutPort, PutRows, PutSegment
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import Table, Tables

KEY = SegmentKey(4789, 5000)
SEGMENT = Segment(KEY, "blue", "192.168.33.12", 1450, True, 300, Arp.FLOOD, "239.1.1.1")
PORT = LocalPort("a", KEY, Attach(kind=AttachKind.NAMESPACE, target="a"), "02:00:00:00:00:0a", ("10.1.1.11/24",), 1450)
ROWS = tables.fdb([("02:00:00:00:00:0b", "192.168.33.13"), ("02:00:00:00:00:0c", "fd00::3")])


def test_every_operation() -> None:
    operations = [
        PutSegment(SEGMENT, ("mtu",), True),
        DropSegment(SEGMENT),
        PutPort(PORT),
        DropPort(PORT),
        PutRows(KEY, Table.FDB, ROWS),
        DropRows(KEY, Table.FDB, ROWS),
    ]
    steps = tuple(control.step(each, {"a": "lab-a"}) for each in operations)
    back = control.unpack_request(control.pack(control.Apply(steps))[4:])
    assert back == control.Apply(steps)
    assert isinstance(back, control.Apply)
    put = back.steps[2]
    assert isinstance(put, control.SetPort)
    assert (put.port, put.target) == (PORT, "lab-a")
    rows = back.steps[4]
    assert isinstance(rows, control.SetRows)
    assert rows.rows.rows().tolist() == ROWS.tolist()


def test_every_operation_of_an_ip_tunnel() -> None:
    tunnel = IpTunnel("flannel0", "10.2.5.0/32", "10.2.0.0/16", "192.168.136.5", 8285, 1472)
    routes = tables.routes([("10.2.14.0/24", "192.168.136.14")])
    operations = [
        PutTunnel(tunnel, ("mtu",)),
        PutRoutes("flannel0", routes),
        DropRoutes("flannel0", routes),
        DropTunnel("flannel0"),
    ]
    steps = tuple(control.tunnel_step(each) for each in operations)
    back = control.unpack_request(control.pack(control.Apply(steps))[4:])
    assert back == control.Apply(steps)
    rows = control.WireRows(Table.ROUTES, routes.tobytes())
    state = control.State((), (control.HeldTunnel(tunnel, rows, ("flannel0 is down",)),))
    held = control.unpack_answer(control.pack(state)[4:])
    assert held == state
    assert isinstance(held, control.State)
    assert held.tunnels[0].routes.rows().tolist() == routes.tolist()


def test_answers() -> None:
    held = Tables(ROWS, tables.neighbors([("10.1.1.12", "02:00:00:00:00:0b")]), tables.flood(["192.168.33.13"]))
    state = control.State(
        (control.Held(SEGMENT, control.wire_tables(held), (), (PORT,), {"a": ("its device is gone",)}),)
    )
    back = control.unpack_answer(control.pack(state)[4:])
    assert isinstance(back, control.State)
    assert (back.segments[0].segment, back.segments[0].ports) == (SEGMENT, (PORT,))
    assert control.plan_tables(back.segments[0].tables) == held
    error = WeftError(Kind.UNSUPPORTED, "no", where="port a", remedy="yes")
    failure = control.unpack_answer(control.pack(control.Failure.of(error, 3))[4:])
    assert isinstance(failure, control.Failure)
    assert (str(failure.error()), failure.error().kind, failure.step) == (str(error), Kind.UNSUPPORTED, 3)


def test_a_message_beyond_all_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="octets"):
        control.body_length(b"\xff\xff\xff\xff")


def test_one_that_works_long_is_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.01)
        asked: list[int] = []

        def alive() -> bool:
            asked.append(1)
            message = control.pack(control.Done())
            theirs.sendall(message[:6] if len(asked) == 2 else message[6:] if len(asked) == 4 else b"")
            return True

        assert control.receive(ours, alive) == control.Done()
        assert len(asked) >= 4


def test_one_that_hangs_is_not() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.01)
        with pytest.raises(TimeoutError):
            control.receive(ours, lambda: False)


def test_a_ping_is_answered_whatever_else_is_done(tmp_path: Path) -> None:
    busy, done = threading.Event(), threading.Event()

    class Slow(Worker):
        def count(self) -> control.Counts:
            busy.set()
            assert done.wait(20)
            return super().count()

    server = Server(Slow("default", Own()), listen(tmp_path / "sock"))
    thread = threading.Thread(target=server.run, args=(None,), daemon=True)
    thread.start()
    first, second = (socket.socket(socket.AF_UNIX) for _ in range(2))
    with first:
        for each in (first, second):
            each.connect(str(tmp_path / "sock"))
        first.sendall(control.pack(control.Count()))
        assert busy.wait(20)
        second.sendall(control.pack(control.Ping()))
        assert control.receive(second) == control.Done()
        done.set()
        assert isinstance(control.receive(first), control.Counts)
        first.sendall(control.pack(control.Stop()))
        assert control.receive(first) == control.Done()
    thread.join(20)
    assert not thread.is_alive()
