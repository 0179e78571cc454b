"""What waits for the one who watches: in which order, and no more than so much."""

from __future__ import annotations

from tests.l2.user.frames import HOSTS, A, arp, udp
from weft.l2.user import control
from weft.l2.user.control import Note
from weft.l2.user.ears import Ears
from weft.l2.user.switch import Switch
from weft.model.network import Arp, SegmentKey
from weft.wire import arp as arps

KEY = SegmentKey(4789, 5000)
VTEP = "192.168.33.13"
QUESTION = arp(arps.request(A, *HOSTS[4]).encode())


def relayed() -> Switch:
    return Switch(learning=True, age=300, arp=Arp.PROXY)


def heard(ears: Ears, turn: int) -> control.Overheard:
    said = ears.take(turn, 0)
    assert said is not None
    return said


def test_the_relay_hears_arp_and_where_it_came_from() -> None:
    ears, switch = Ears(), relayed()
    assert not ears.arrived(KEY, VTEP, memoryview(QUESTION)), "nobody watches"
    turn = ears.watch(frozenset((KEY,)))
    for port in ("a", "r/blue"):
        ears.hear(KEY, port, memoryview(QUESTION), switch, 0)
        ears.hear(KEY, port, memoryview(udp(b"")), switch, 0)
    assert ears.arrived(KEY, VTEP, memoryview(QUESTION))
    said = heard(ears, turn)
    assert [(each.port, each.vtep) for each in said.frames] == [("a", None), ("r/blue", None), (None, VTEP)]
    assert {each.frame for each in said.frames} == {QUESTION}
    assert said.notes == ()


def test_one_that_floods_takes_no_room_from_the_others() -> None:
    ears, switch = Ears(), relayed()
    turn = ears.watch(frozenset((KEY,)))
    for _ in range(5000):
        ears.hear(KEY, "a", memoryview(QUESTION), switch, 0)
    ears.hear(KEY, "b", memoryview(QUESTION), switch, 0)
    ears.arrived(KEY, VTEP, memoryview(QUESTION))
    waited = [each.port or each.vtep for each in heard(ears, turn).frames]
    assert waited[-2:] == ["b", VTEP]
    assert len(waited) + ears.dropped == 5002
    for number in range(5000):
        ears.arrived(KEY, f"10.0.{number >> 8}.{number & 255}", memoryview(QUESTION))
    assert len(heard(ears, turn).frames) <= 1024, "and all together are bounded too"


def test_what_was_said_last_of_a_mac_comes_last() -> None:
    ears, switch = Ears(), Switch(learning=False, age=300, arp=Arp.SUPPRESS)
    turn = ears.watch(frozenset((KEY,)))
    mac = bytes.fromhex(A.replace(":", ""))
    for _ in range(2):
        ears.gone(KEY, [(mac, "a")])
        ears.hear(KEY, "a", memoryview(udp(b"")), switch, 0)
    assert heard(ears, turn).notes == (Note(KEY, A, "a", gone=True), Note(KEY, A, "a"))
    ears.gone(KEY, [(mac, "a")])
    assert heard(ears, turn).notes == (Note(KEY, A, "a", gone=True),)
