"""Rows go where the last observation saw their devices, without asking again, while nobody has touched those."""

from __future__ import annotations

import pytest

from tests.l2.l2_world import BLUE, Overlay, Underlay, ip
from weft.l2.datapath import Applied
from weft.l2.kernel.datapath import KernelDatapath
from weft.plan import tables
from weft.plan.operations import DropRows, Operation, PutRows
from weft.plan.tables import Table

pytestmark = pytest.mark.system

MAC = "02:00:00:00:00:44"
ROWS = tables.fdb([(MAC, "192.168.33.13")])
PUT, DROP = PutRows(BLUE, Table.FDB, ROWS), DropRows(BLUE, Table.FDB, ROWS)
NEIGHBOR = PutRows(BLUE, Table.NEIGHBORS, tables.neighbors([("10.1.1.44", MAC)]))


def listening(world: Underlay) -> KernelDatapath:
    path, _ = Overlay().up(world)
    assert path.events_fd() is not None
    path.events()
    path.observe()
    return path


def asked(path: KernelDatapath, monkeypatch: pytest.MonkeyPatch, *operations: Operation) -> tuple[Applied, list[str]]:
    """What became of the operations, and which links the kernel was asked for."""
    links: list[str] = []
    get = path._host.links.get

    def counted(name: str) -> object:
        links.append(name)
        return get(name)

    with monkeypatch.context() as patched:
        patched.setattr(path._host.links, "get", counted)
        return path.apply(operations), links


def test_rows_ask_for_no_device(underlay: Underlay, monkeypatch: pytest.MonkeyPatch) -> None:
    path = listening(underlay)
    applied, links = asked(path, monkeypatch, PUT, NEIGHBOR, DROP)
    assert (applied.ok, links) == (True, [])
    assert MAC not in [row[0] for row in tables.text(Table.FDB, path.observe().tables[BLUE].fdb)]


def test_what_was_observed_before_anybody_listened_does_not_count(
    underlay: Underlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = Overlay().up(underlay)
    path.events_fd()
    applied, links = asked(path, monkeypatch, PUT)
    assert applied.ok
    assert links


CHANGES = {
    "a port came": f"ip link add x0 address {MAC} master wb5000 type veth",
    "a port's MAC changed": f"ip link set wp-a address {MAC}",
    "the bridge's MAC changed": f"ip link set wb5000 address {MAC}",
}


@pytest.mark.parametrize("command", CHANGES.values(), ids=CHANGES.keys())
def test_a_mac_that_the_bridge_has_got_since_is_refused(underlay: Underlay, command: str) -> None:
    path = listening(underlay)
    ip(underlay.hosts[0], *command.split())
    applied = path.apply([PUT])
    assert [str(error) for _, error in applied.failed] == [
        f"wb5000: {MAC} belongs to a device of this bridge and cannot be a remote MAC; give the remote port another MAC"
    ]


@pytest.mark.parametrize("command", ["ip link set wx5000 name other", "ip link del wx5000"])
def test_a_device_that_went_is_missed(underlay: Underlay, command: str) -> None:
    path = listening(underlay)
    ip(underlay.hosts[0], *command.split())
    assert "the device is missing" in str(path.apply([PUT]).failed[0][1])


def test_somebody_elses_device_under_our_name_is_left_alone(underlay: Underlay) -> None:
    path = listening(underlay)
    for command in (
        "ip link del wx5000",
        "ip link add wx5000 type vxlan id 77 dstport 4799 local 192.168.33.12",
        "ip link set wx5000 master wb5000",
    ):
        ip(underlay.hosts[0], *command.split())
    assert "not weft's" in str(path.apply([PUT]).failed[0][1])
