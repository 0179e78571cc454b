"""Which subnet a node takes: by its address, by the subnet file, or a free one at random."""

from __future__ import annotations

import json
import random
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.model.errors import WeftError
from weft.peering.flannel.config import NetworkConfig, parse
from weft.peering.flannel.lease import Lease
from weft.peering.flannel.subnets import Node, choose

ME = IPv4Address("192.168.136.5")


def config(**fields: Any) -> NetworkConfig:
    return parse(json.dumps({"Network": "10.2.0.0/16", "SubnetMax": "10.2.20.0", **fields}).encode())


def lease(subnet: str, public: str = "192.168.136.99", etcd_lease: int = 1, subnet6: str = "") -> Lease:
    return Lease(
        IPv4Network(subnet), IPv6Network(subnet6) if subnet6 else None, IPv4Address(public), etcd_lease=etcd_lease,
        revision=1,
    )  # fmt: skip


def chosen(leases: list[Lease], node: Node | None = None, seed: int = 1, **fields: Any) -> Any:
    return choose(config(**fields), node or Node(ME), leases, random.Random(seed))


def test_my_address_finds_my_lease() -> None:
    mine = lease("10.2.7.0/24", str(ME))
    choice = chosen([lease("10.2.1.0/24"), mine], Node(ME, previous=(IPv4Network("10.2.3.0/24"), None)))
    assert (choice.again, choice.give_back) == (mine, ())


def test_a_reservation_for_my_address_is_taken_and_stays_one() -> None:
    mine = lease("10.2.7.0/24", str(ME), etcd_lease=0)
    assert chosen([mine]).again.reserved


def test_my_etcd_lease_finds_my_lease_where_my_address_changed() -> None:
    mine = lease("10.2.7.0/24", "192.168.136.77", etcd_lease=55)
    assert chosen([mine, lease("10.2.8.0/24")], Node(ME, etcd_lease=55)).again == mine


def test_of_several_of_mine_the_one_of_the_subnet_file() -> None:
    leases = [lease("10.2.7.0/24", str(ME), 1), lease("10.2.9.0/24", str(ME), 2)]
    assert chosen(leases).again == leases[0]
    assert chosen(leases, Node(ME, previous=(IPv4Network("10.2.9.0/24"), None))).again == leases[1]
    assert chosen(leases, Node(ME, etcd_lease=2)).again == leases[1]


def test_the_subnet_file_names_a_free_one() -> None:
    choice = chosen([lease("10.2.1.0/24")], Node(ME, previous=(IPv4Network("10.2.5.0/24"), None)))
    assert (choice.subnets[0], choice.again, choice.taken_by) == (IPv4Network("10.2.5.0/24"), None, None)


def test_the_subnet_file_names_one_that_another_has() -> None:
    theirs = lease("10.2.5.0/24")
    choice = chosen([theirs], Node(ME, previous=(IPv4Network("10.2.5.0/24"), None)))
    assert choice.subnets[0] != IPv4Network("10.2.5.0/24")
    assert choice.taken_by == theirs


@pytest.mark.parametrize("previous", ["10.2.5.0/25", "10.9.5.0/24", "10.2.21.0/24", "10.2.0.0/24"])
def test_a_subnet_file_from_another_network_counts_for_nothing(previous: str) -> None:
    choice = chosen([], Node(ME, previous=(IPv4Network(previous), None)))
    assert choice.subnets[0] in IPv4Networks()
    assert choice.taken_by is None


def IPv4Networks() -> set[IPv4Network]:
    return {IPv4Network(f"10.2.{third}.0/24") for third in range(1, 21)}


def test_my_lease_of_another_length_is_given_back_and_its_place_kept_where_that_can_be() -> None:
    old = lease("10.2.7.0/25", str(ME))
    choice = chosen([old])
    assert choice.give_back == (old,)
    dual = lease("10.2.7.0/24", str(ME))
    choice = chosen([dual], EnableIPv6=True, IPv6Network="fc00::/48", Backend={"Type": "vxlan"})
    assert choice.give_back == (dual,)
    assert choice.subnets[0] == dual.subnet
    assert choice.subnets[1] is not None


def test_a_reservation_of_mine_that_fits_no_more_is_left_alone() -> None:
    old = lease("10.2.7.0/25", str(ME), etcd_lease=0)
    choice = chosen([old])
    assert choice.give_back == ()
    assert not choice.subnets[0].overlaps(old.subnet)


def test_every_free_one_is_taken_sooner_or_later_and_no_other() -> None:
    taken = [lease(f"10.2.{third}.0/24") for third in range(1, 18)]
    assert {str(chosen(taken, seed=seed).subnets[0]) for seed in range(40)} == {
        "10.2.18.0/24",
        "10.2.19.0/24",
        "10.2.20.0/24",
    }


def test_leases_of_another_length_take_what_they_cover() -> None:
    taken = [lease("10.2.0.0/20"), lease("10.2.16.128/25"), lease("10.2.18.0/23")]
    assert {str(chosen(taken, seed=seed).subnets[0]) for seed in range(20)} == {"10.2.17.0/24", "10.2.20.0/24"}


def test_a_pool_without_any_left_says_what_to_do() -> None:
    taken = [lease(f"10.2.{third}.0/24", etcd_lease=third % 2) for third in range(1, 21)]
    with pytest.raises(WeftError) as raised:
        chosen(taken)
    assert str(raised.value) == (
        "flannel's network 10.2.0.0/16: no subnet of length 24 is left from 10.2.1.0 to 10.2.20.0, there are 20 "
        "leases, 10 of them reservations; raise SubnetMax or enlarge the network in <prefix>/config, or delete leases "
        "of nodes that are gone"
    )


@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(18, 30)), max_size=40),
    st.integers(0, 1000),
)
def test_what_is_chosen_is_free_and_fits(places: list[tuple[int, int]], seed: int) -> None:
    taken = [
        lease(str(IPv4Network((int(IPv4Address("10.2.0.0")) + third * 256, length), strict=False)))
        for third, length in places
    ]
    small = config(SubnetMax="10.2.255.0")
    try:
        choice = choose(small, Node(ME), taken, random.Random(seed))
    except WeftError:
        every = [IPv4Network(f"10.2.{third}.0/24") for third in range(1, 256)]
        assert all(any(subnet.overlaps(each.subnet) for each in taken if each.subnet) for subnet in every)
        return
    subnet = choice.subnets[0]
    assert small.four is not None
    assert small.four.fits(subnet)
    assert not any(subnet.overlaps(each.subnet) for each in taken if subnet and each.subnet)
