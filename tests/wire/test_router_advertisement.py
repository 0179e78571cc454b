"""Router advertisements: what scapy reads in ours, what ours reads back, and the times of RFC 4861 section 6.2."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet6, l2  # type: ignore[import-untyped]

from weft.wire import nd
from weft.wire.errors import WireError
from weft.wire.nd import Option
from weft.wire.packet import dissect
from weft.wire.router_advertisement import MTU, PREFIX, Advertised, Prefix, Schedule, mtu_option

SAID = Advertised("02:00:5e:00:01:0a", "fe80::5eff:fe00:10a", ("2001:db8:10::/64", "2001:db8:20::/56"), 1400)


def test_scapy_reads_what_we_say() -> None:
    frame = l2.Ether(SAID.frame())
    told, prefix = frame[inet6.ICMPv6ND_RA], frame[inet6.ICMPv6NDOptPrefixInfo]
    assert (frame.dst, frame.src) == ("33:33:00:00:00:01", SAID.mac)
    assert (frame[inet6.IPv6].src, frame[inet6.IPv6].hlim) == (SAID.source, 255)
    assert (told.M, told.O, told.routerlifetime, told.chlim) == (0, 0, 1800, 64)
    assert (prefix.prefix, prefix.prefixlen, prefix.L, prefix.A) == ("2001:db8:10::", 64, 1, 1)
    assert (prefix.validlifetime, prefix.preferredlifetime) == (2_592_000, 604_800)
    assert prefix.payload[inet6.ICMPv6NDOptPrefixInfo].A == 0, "no interface identifier of 64 bits fits a /56"
    assert frame[inet6.ICMPv6NDOptMTU].mtu == 1400
    assert frame[inet6.ICMPv6NDOptSrcLLAddr].lladdr == SAID.mac


def test_we_read_what_we_say() -> None:
    told = dissect(SAID.frame()).nd
    assert isinstance(told, nd.RouterAdvertisement)
    assert told.source_link == SAID.mac
    assert [Prefix.of(each).prefix for each in told.options if each.type == PREFIX] == list(SAID.prefixes)
    assert [each.body[-4:] for each in told.options if each.type == MTU] == [(1400).to_bytes(4, "big")]


@given(st.binary(max_size=40))
def test_no_octets_but_a_wire_error(body: bytes) -> None:
    try:
        found = Prefix.of(Option(PREFIX, body))
    except WireError:
        return
    assert Prefix.of(found.option()) == found


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(WireError):
        mtu_option(1 << 32)
    with pytest.raises(WireError):
        Prefix("2001:db8::/64", True, valid=1 << 32).option()


def test_three_soon_then_now_and_then() -> None:
    schedule = Schedule(100.0, lambda: 0.5)
    times = []
    for now in range(100, 2000):
        if schedule.due(now):
            times.append(now)
    assert times[:3] == [100, 116, 132]
    assert {later - earlier for earlier, later in pairwise(times[2:])} == {399}


def test_a_solicitation_is_answered_soon_but_a_hundred_are_not_a_hundred_times() -> None:
    schedule = Schedule(0.0, lambda: 1.0)
    for now in range(40):
        schedule.due(float(now))
    schedule.solicited(50.0)
    assert not schedule.due(50.4)
    assert schedule.due(50.5)
    for hundredth in range(100):
        schedule.solicited(50.5 + hundredth / 100)
    assert not schedule.due(53.4), "3 s between two (MIN_DELAY_BETWEEN_RAS)"
    assert schedule.due(53.5)
    assert not schedule.due(60.0)


@given(st.lists(st.floats(0, 30), max_size=50), st.floats(0, 1))
def test_never_more_than_one_in_three_seconds(solicited: list[float], chance: float) -> None:
    schedule = Schedule(0.0, lambda: chance)
    moments = sorted({*solicited, *(step / 4 for step in range(160))})
    asked, told = set(solicited), []
    for now in moments:
        if now in asked:
            schedule.solicited(now)
        if schedule.due(now):
            told.append(now)
    assert all(later - earlier >= 3.0 - 1e-9 for earlier, later in pairwise(told))
