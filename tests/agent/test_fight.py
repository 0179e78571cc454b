"""Fights, with time as an argument: noticed after a few repairs, slowed down by doubling, forgotten when they end."""

from __future__ import annotations

from weft.agent.fight import FREE, PAUSES, WINDOW, Fights


def test_a_few_repairs_are_no_fight() -> None:
    fights = Fights()
    assert [fights.repaired(["port a"], float(now)) for now in range(FREE)] == [[]] * FREE
    assert (fights.held(FREE), fights.due(FREE), fights.told(FREE)) == (frozenset(), None, ())


def test_repairs_far_apart_are_no_fight() -> None:
    fights = Fights()
    for number in range(100):
        assert fights.repaired(["port a"], number * (WINDOW + 1)) == []


def test_a_fight_is_slowed_down_twice_as_much_each_time() -> None:
    fights = Fights()
    for _ in range(FREE):
        fights.repaired(["port a", "port b"], 0.0)
    now, pauses = 0.0, []
    for number in range(10):
        assert fights.repaired(["port a"], now) == (["port a"] if number == 0 else [])
        due = fights.due(now)
        assert due is not None
        assert fights.held(now + due - 0.01) == {"port a"}, "nobody else waits"
        assert fights.held(now + due) == frozenset()
        pauses.append(due)
        now += due
    assert pauses == [1, 2, 4, 8, 16, 32, *[PAUSES[1]] * 4]
    assert "port a was changed by another program 15 times in" in fights.told(now)[0]


def test_a_fight_that_has_ended_is_forgotten() -> None:
    fights = Fights()
    for _ in range(FREE + 1):
        fights.repaired(["port a"], 0.0)
    assert fights.told(WINDOW)
    assert not fights.told(WINDOW + 1)
    assert fights.repaired(["port a"], WINDOW + 1) == []
    assert fights.held(WINDOW + 1) == frozenset()
