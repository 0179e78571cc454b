"""Peers' leases as rows: golden, hostile, and the same however they came."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.model.errors import WeftError
from weft.peering.flannel.lease import BackendData, Lease, decode
from weft.peering.flannel.peers import Peers, Rowset
from weft.peering.flannel.vtep import Own, Peer, read, told
from weft.plan.tables import Table, text

OWN = Own(
    IPv4Network("10.2.0.0/16"), IPv4Network("10.2.5.0/24"), 0x02_00_00_00_00_05, 1,
    frozenset({IPv4Address("192.168.136.5")}),
)  # fmt: skip


def lease(subnet: str, public: str = "192.168.136.14", mac: str = "02:00:00:00:00:0e", **more: object) -> Lease:
    data = f'{{"VNI":{more.get("vni", 1)},"VtepMAC":"{mac}"}}'
    return Lease(IPv4Network(subnet), None, IPv4Address(public), None, BackendData("vxlan", data), 1, 7)


def peer(which: Lease) -> Peer:
    found = read(which, OWN, six=False)
    assert found is not None
    return found


def shown(rows: Rowset) -> list[str]:
    tables = rows.tables
    return [
        f"{table} {' → '.join(row)}"
        for table, array in (
            (Table.FDB, tables.fdb),
            (Table.NEIGHBORS, tables.neighbors),
            (Table.ROUTES, tables.routes),
        )
        for row in text(table, array)
    ] + [f"direct {' → '.join(row)}" for row in text(Table.ROUTES, rows.direct)]


def test_one_lease_is_one_row_in_each_table() -> None:
    value = (
        b'{"PublicIP":"192.168.136.14","PublicIPv6":null,"BackendType":"vxlan",'
        b'"BackendData":{"VNI":1,"VtepMAC":"8a:b9:c1:1c:0a:5e"}}'
    )
    peers = Peers()
    delta = peers.change([peer(decode("subnets/10.2.14.0-24", value))])
    assert shown(delta.put) == [
        "fdb 8a:b9:c1:1c:0a:5e → 192.168.136.14",
        "neighbors 10.2.14.0 → 8a:b9:c1:1c:0a:5e",
        "routes 10.2.14.0/24 → 10.2.14.0",
    ]
    assert shown(delta.drop) == []


def test_a_changed_mac_leaves_nothing_of_the_old_one() -> None:
    peers = Peers()
    peers.change([peer(lease("10.2.14.0/24"))])
    delta = peers.change([peer(lease("10.2.14.0/24", mac="02:00:00:00:00:ff"))])
    assert shown(delta.put) == ["fdb 02:00:00:00:00:ff → 192.168.136.14", "neighbors 10.2.14.0 → 02:00:00:00:00:ff"]
    assert shown(delta.drop) == ["fdb 02:00:00:00:00:0e → 192.168.136.14"]


def test_an_old_lease_of_a_node_takes_nothing_along_when_it_ends() -> None:
    peers = Peers()
    peers.change([peer(lease("10.2.14.0/24")), peer(lease("10.2.15.0/24"))])
    assert shown(peers.change(drop=["subnets/10.2.14.0-24"]).drop) == [
        "neighbors 10.2.14.0 → 02:00:00:00:00:0e",
        "routes 10.2.14.0/24 → 10.2.14.0",
    ]


@pytest.mark.parametrize(
    ("which", "why"),
    [
        (lease("10.3.14.0/24"), "10.3.14.0/24 is not in the network 10.2.0.0/16"),
        (lease("10.0.0.0/8"), "is not in the network"),
        (lease("10.2.5.128/25"), "overlaps with this node's own 10.2.5.0/24"),
        (lease("10.2.0.0/16"), "overlaps"),
        (lease("10.2.14.0/24", "192.168.136.5"), "its address 192.168.136.5 is none of another host"),
        (lease("10.2.14.0/24", "0.0.0.0"), "is none of another host"),
        (lease("10.2.14.0/24", "224.0.0.1"), "is none of another host"),
        (lease("10.2.14.0/24", "127.0.0.1"), "is none of another host"),
        (lease("10.2.14.0/24", mac="02:00:00:00:00:05"), "its VtepMAC is none that another VTEP can have"),
        (lease("10.2.14.0/24", mac="01:00:5e:00:00:05"), "its VtepMAC"),
        (lease("10.2.14.0/24", mac="00:00:00:00:00:00"), "its VtepMAC"),
        (lease("10.2.14.0/24", vni=2), "its VNI is 2, not 1"),
    ],
)
def test_a_lease_that_claims_too_much_is_not_obeyed(which: Lease, why: str) -> None:
    with pytest.raises(WeftError, match=why):
        read(which, OWN, six=False)


def test_a_vni_of_more_than_16_bits_is_known_by_its_low_ones() -> None:
    """As seen: flannel 0.22 says 4464 for VNI 70000, and cannot read a lease that says 70000; 0.24 says 70000."""
    wide = replace(OWN, vni=70_000)
    for said in (4464, 70_000):
        assert read(lease("10.2.14.0/24", vni=said), wide, six=False) is not None
    with pytest.raises(WeftError, match="its VNI is 1, not 70000"):
        read(lease("10.2.14.0/24", vni=1), wide, six=False)
    assert told(70_000) == 4464


def test_another_backend_is_passed_over() -> None:
    assert read(Lease(IPv4Network("10.2.14.0/24"), None, IPv4Address("192.168.136.14")), OWN, six=False) is None


_peers = st.builds(
    lambda subnet, half, mac, host, direct, revision: Peer(
        f"{subnet}/{half}", (0, 0xFFFF0A020000 + subnet * 256), 120 + half, mac, (0, 0xFFFFC0A88800 + host), direct,
        (revision, f"{subnet}/{half}"),
    ),
    st.integers(1, 4), st.integers(0, 1), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(1, 3),
)  # fmt: skip


@given(st.lists(st.lists(st.tuples(st.booleans(), _peers), max_size=4), max_size=6), st.integers())
def test_what_stands_depends_on_the_leases_that_hold_alone(steps: list[list[tuple[bool, Peer]]], seed: int) -> None:
    peers, holds = Peers(), dict[str, Peer]()
    standing: dict[str, set[str]] = {"rows": set()}
    for step in steps:
        put = {each.name: each for here, each in step if here}
        drop = [each.name for here, each in step if not here and each.name not in put]
        delta = peers.change(put.values(), drop)
        holds = {name: each for name, each in holds.items() if name not in drop} | put
        keys = {line.split(" → ")[0].replace("direct", "routes") for line in (*shown(delta.put), *shown(delta.drop))}
        standing["rows"] = {
            line for line in standing["rows"] if line.split(" → ")[0].replace("direct", "routes") not in keys
        } | set(shown(delta.put))
    order = list(holds.values())
    random.Random(seed).shuffle(order)
    afresh = Peers()
    afresh.replace(order)
    assert shown(peers.rows()) == shown(afresh.rows())
    assert standing["rows"] == set(shown(afresh.rows()))
    assert not peers.replace(order).put.count
    assert all(np.array_equal(peers.rows().tables[table], afresh.rows().tables[table]) for table in Table)
