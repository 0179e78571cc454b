"""The learning switch: scenario 2 frame by frame, and what must hold for every sequence of frames."""

from __future__ import annotations

import sys
import threading

from hypothesis import given
from hypothesis import strategies as st

from tests.l2.user.frames import BROADCAST, HOSTS, A, B, C, arp, udp
from weft.l2.user.switch import LEARNED_MAX, Entry, Switch, Way
from weft.model.network import Arp
from weft.wire import arp as arps
from weft.wire import nd
from weft.wire.checksum import PseudoHeader
from weft.wire.ethernet import IPV6, Ethernet
from weft.wire.ipv6 import IPv6
from weft.wire.packet import dissect

PEERS = ("192.168.33.13", "192.168.33.14")


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def flood_and_learn(**more: object) -> Switch:
    switch = Switch(learning=True, age=300, arp=Arp.FLOOD, **more)  # type: ignore[arg-type]
    switch.ports = {"a": False, "b": False}
    switch.flood = PEERS
    return switch


def suppressing() -> Switch:
    """B is behind the first peer, as the control plane says; A is local."""
    switch = Switch(learning=False, age=300, arp=Arp.SUPPRESS)
    switch.ports = {"a": False, "b": False}
    switch.flood = PEERS
    switch.declare({octets(B): PEERS[0]})
    switch.neighbors = {HOSTS[4][1]: B, HOSTS[6][1]: B, HOSTS[4][0]: A}
    return switch


REQUEST = arp(arps.request(A, *HOSTS[4]).encode())


def test_scenario_2() -> None:
    switch = flood_and_learn()
    assert switch.from_port("a", REQUEST, 0) == Way(ports=("b",), vteps=PEERS)
    answer = arp(arps.reply(arps.request(A, *HOSTS[4]), B).encode(), src=B, dst=A)
    assert switch.from_tunnel(PEERS[0], answer, 1) == Way(ports=("a",))
    assert switch.from_port("a", udp(b"", dst=B), 2) == Way(vteps=(PEERS[0],))


def test_a_group_gets_one_copy_and_others_theirs() -> None:
    switch = flood_and_learn(group="239.1.1.1")
    switch.flood = PEERS[:1]
    assert switch.from_port("a", REQUEST, 0).vteps == ("239.1.1.1", PEERS[0])


GATEWAY, ANYCAST = HOSTS[4][1], "02:00:5e:00:01:0a"


def guarded(arp_mode: Arp) -> Switch:
    """`gw` is the port of a router whose gateway is distributed, `a` and `b` are hosts."""
    alone = arp_mode is Arp.PROXY
    switch = Switch(learning=False, age=300, arp=arp_mode, anycast=(ANYCAST, GATEWAY, HOSTS[6][1]))
    switch.ports = {"a": alone, "b": alone, "gw": False}
    switch.flood = PEERS
    switch.declare({octets(B): PEERS[0]})
    return switch


def test_what_concerns_an_anycast_gateway_stays_at_home() -> None:
    switch = guarded(Arp.FLOOD)
    assert switch.from_port("a", REQUEST, 0) == Way(ports=("b", "gw")), "who asks for the gateway"
    other = arp(arps.request(A, HOSTS[4][0], "10.1.1.99").encode())
    assert switch.from_port("a", other, 0).vteps == PEERS
    assert switch.from_port("gw", udp(b"", src=ANYCAST, dst=B), 0) == Way(drop="not for tunnels")
    switch.declare({octets(ANYCAST): PEERS[0]})
    assert switch.from_port("a", udp(b"", dst=ANYCAST), 0) == Way(drop="not for tunnels")
    solicitation = nd.NeighborSolicitation(target=HOSTS[6][1]).encode(PseudoHeader(HOSTS[6][0], "ff02::1"))
    frame = Ethernet("33:33:00:00:00:01", A, IPV6).encode(
        IPv6(HOSTS[6][0], "ff02::1", 58, hop_limit=255).encode(solicitation)
    )
    assert switch.from_port("a", frame, 0) == Way(ports=("b", "gw"))


def test_in_proxy_every_frame_between_hosts_passes_the_router_s_port() -> None:
    switch = guarded(Arp.PROXY)
    assert switch.from_port("a", REQUEST, 0) == Way(ports=("gw",))
    assert switch.from_port("a", udp(b"", dst=B), 0) == Way(drop="not for tunnels"), "known, but not for a host"
    assert switch.from_port("gw", udp(b"", src=C, dst=B), 0) == Way(vteps=PEERS[:1])
    assert switch.from_port("gw", arp(arps.request(C, "10.1.1.1", "10.1.1.99").encode(), src=C), 0).vteps == ()
    assert switch.from_port("gw", udp(b"", src=C, dst="02:00:00:00:00:99"), 0).vteps == (), "nobody known"
    assert switch.from_tunnel(PEERS[0], udp(b"", src=B, dst=A), 0) == Way(drop="isolated")
    assert switch.from_tunnel(PEERS[0], udp(b"", src=B, dst=C), 0) == Way(ports=("gw",))
    assert switch.from_tunnel(PEERS[0], arp(REQUEST[14:], src=B), 0) == Way(ports=("gw",))


def test_age_and_sequence() -> None:
    switch = flood_and_learn()
    switch.from_tunnel(PEERS[0], udp(b"", src=B, dst=A), 0)
    assert switch.from_port("a", udp(b""), 300).vteps == PEERS[:1]
    assert switch.from_port("a", udp(b""), 301).vteps == PEERS
    switch.from_tunnel(PEERS[1], udp(b"", src=B, dst=A), 302)
    assert switch.learned[octets(B)].sequence == 1
    assert switch.from_port("a", udp(b""), 303).vteps == PEERS[1:]
    switch.expire(700)
    assert switch.learned == {}


def test_local_ports_switch_among_themselves() -> None:
    switch = flood_and_learn()
    switch.from_port("b", udp(b"", src=B, dst=A), 0)
    assert switch.from_port("a", udp(b""), 1) == Way(ports=("b",))
    assert switch.from_port("b", udp(b"", src=C, dst=B), 1).drop == "hairpin"
    switch.forget("b")
    assert switch.from_port("a", udp(b""), 1) == Way(ports=("b",), vteps=PEERS)


def test_isolated_ports_reach_tunnels_only() -> None:
    switch = flood_and_learn()
    switch.ports = {"a": True, "b": True, "gateway": False}
    assert switch.from_port("a", REQUEST, 0) == Way(ports=("gateway",), vteps=PEERS)
    switch.from_port("b", udp(b"", src=B, dst=A), 0)
    assert switch.from_port("a", udp(b""), 0).drop == "isolated"
    assert switch.from_tunnel(PEERS[0], udp(b"", src=C, dst=BROADCAST), 0).ports == ("a", "b", "gateway")


def test_static_rows_win_and_never_move() -> None:
    switch = suppressing()
    forged = udp(b"", src=B, dst=A)
    switch.from_tunnel(PEERS[1], forged, 0)
    switch.from_port("b", forged, 0)
    assert switch.from_port("a", udp(b""), 1) == Way(vteps=(PEERS[0],))
    assert octets(B) not in switch.learned


def test_groups_as_source_are_dropped() -> None:
    frame = udp(b"", src=BROADCAST)
    assert flood_and_learn().from_port("a", frame, 0).drop == "source is a group"
    assert flood_and_learn().from_tunnel(PEERS[0], frame, 0).drop == "source is a group"


@given(st.integers(0, 255))
def test_what_concerns_one_link_goes_nowhere(last: int) -> None:
    frame = udp(b"", dst=f"01:80:c2:00:00:{last:02x}")
    switch = flood_and_learn()
    ways = switch.from_port("a", frame, 0), switch.from_tunnel(PEERS[0], frame, 0)
    expected = "for one link" if 1 <= last <= 15 else ""
    assert [way.drop for way in ways] == [expected, expected]
    assert [bool(way.ports) for way in ways] == [not expected, not expected]
    assert not switch.learned or not expected


def test_nobody_sends_from_zero() -> None:
    frame = udp(b"", src="00:00:00:00:00:00")
    switch = flood_and_learn()
    assert switch.from_port("a", frame, 0).drop == "source is zero"
    assert switch.from_tunnel(PEERS[0], frame, 0).drop == "source is zero"
    assert not switch.learned


def test_what_strangers_make_us_remember_is_bounded() -> None:
    switch = flood_and_learn()
    tail = udp(b"")[12:]
    for number in range(LEARNED_MAX + 10):
        switch.from_tunnel(PEERS[0], octets(A) + b"\x02\x01" + number.to_bytes(4, "big") + tail, 0)
    assert len(switch.learned) == LEARNED_MAX


def test_arp_is_answered_for_remote_hosts() -> None:
    way = suppressing().from_port("a", REQUEST, 0)
    assert (way.ports, way.vteps) == ((), ())
    answer = dissect(way.reply)
    assert answer.arp == arps.reply(arps.request(A, *HOSTS[4]), B)
    assert answer.ethernet is not None
    assert (answer.ethernet.dst, answer.ethernet.src) == (A, B)


def test_nd_is_answered_for_remote_hosts() -> None:
    src, dst = HOSTS[6]
    asked = nd.NeighborSolicitation(target=dst, options=(nd.link_option(nd.SOURCE_LINK, A),))
    group = nd.solicited_node(dst)

    def solicitation(source: str) -> bytes:
        packet = IPv6(source, group, 58, hop_limit=255).encode(asked.encode(PseudoHeader(source, group)))
        return Ethernet("33:33:ff:00:00:12", A, IPV6).encode(packet)

    answer = dissect(suppressing().from_port("a", solicitation(src), 0).reply)
    assert isinstance(answer.nd, nd.NeighborAdvertisement)
    assert (answer.nd.target, answer.nd.target_link) == (dst, B)
    probe = suppressing().from_port("a", solicitation("::"), 0)
    assert probe == Way(ports=("b",))


def test_what_suppress_keeps_at_home() -> None:
    switch = suppressing()
    unknown = arp(arps.request(A, HOSTS[4][0], "10.1.1.99").encode())
    local = arp(arps.request(B, "10.1.1.50", HOSTS[4][0]).encode(), src=C)
    probe = arp(arps.request(A, "0.0.0.0", HOSTS[4][1]).encode())
    for frame in (unknown, local, probe, udp(b"", dst="02:00:00:00:00:99")):
        assert switch.from_port("a", frame, 0) == Way(ports=("b",))
    assert switch.from_port("a", udp(b"", dst=BROADCAST), 0).vteps == PEERS


_MACS = st.sampled_from([A, B, C, BROADCAST, "01:00:5e:00:00:01"])
_STEPS = st.tuples(
    st.sampled_from(["a", "b", *PEERS]), st.sampled_from([A, B, C]), _MACS, st.integers(0, 400), st.booleans()
)


@given(steps=st.lists(_STEPS, max_size=30), learning=st.booleans(), suppress=st.booleans())
def test_what_always_holds(steps: list[tuple[str, str, str, int, bool]], learning: bool, suppress: bool) -> None:
    """Split horizon; no frame back where it came from; one way for a known address; static rows do not move."""
    switch = Switch(learning=learning, age=300, arp=Arp.SUPPRESS if suppress else Arp.FLOOD)
    switch.ports, switch.flood = {"a": False, "b": False}, PEERS
    switch.declare({octets(C): PEERS[1]})
    now = 0
    for source, src, dst, passed, asks in steps:
        now += passed
        frame = arp(arps.request(src, *HOSTS[4]).encode(), src=src, dst=dst) if asks else udp(b"", src=src, dst=dst)
        if source in PEERS:
            way = switch.from_tunnel(source, frame, now)
            assert way.vteps == ()
        else:
            way = switch.from_port(source, frame, now)
            assert source not in way.ports
            if suppress and asks:
                assert way.vteps == ()
            if src != C and not asks:
                assert switch.learned[octets(src)].port == source
            if dst == C and not asks:
                assert way == Way(vteps=(PEERS[1],))
        assert not (way.drop and (way.ports or way.vteps))
        assert len(way.vteps) + len(way.ports) <= 1 or dst not in (C,) or source in PEERS or asks
        assert learning or all(entry.vtep is None for entry in switch.learned.values())
        assert octets(C) not in switch.learned


@given(st.binary(min_size=14, max_size=120))
def test_any_octets_have_a_way(frame: bytes) -> None:
    switch = suppressing()
    way = switch.from_port("a", frame, 0)
    assert "a" not in way.ports
    assert switch.from_tunnel(PEERS[0], frame, 0).vteps == ()


def test_no_change_is_missed_while_old_macs_are_forgotten() -> None:
    switch, before, sweeps, moves = flood_and_learn(), sys.getswitchinterval(), 30000, 0
    mac = octets(C)

    def sweep() -> None:
        for _ in range(sweeps):
            switch.learned[mac] = Entry("a", None, 0)
            switch.expire(1000)

    sweeper = threading.Thread(target=sweep)
    sys.setswitchinterval(1e-6)
    try:
        sweeper.start()
        while sweeper.is_alive():
            switch.flood_to(PEERS)
            moves += 1
    finally:
        sys.setswitchinterval(before)
        sweeper.join()
    assert switch.epoch == sweeps + moves
