"""When an agent looks at its whole host again."""

from __future__ import annotations

from weft.agent.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_look_is_due_whatever_happens_in_between() -> None:
    clock = Clock()
    pace = Pace(60, clock)
    pace.looked(0.01)
    for _ in range(6):
        assert 0 < pace.pause(True) <= 60
        clock.now += 9
    clock.now += 6
    assert pace.left() <= 0
    pace.looked(0.01)
    assert 54 <= pace.left() <= 60


def test_a_look_that_takes_long_is_taken_less_often() -> None:
    clock = Clock()
    pace = Pace(60, clock)
    pace.looked(0.5)
    assert 180 <= pace.left() <= 200
    pace.looked(5)
    assert 270 <= pace.left() <= 300


def test_what_fails_is_tried_again_ever_later() -> None:
    pace = Pace(60, Clock())
    assert [pace.pause(False) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert pace.pause(True) > 50
    assert pace.pause(False) == 0.2


def test_agents_do_not_look_together() -> None:
    clock = Clock()
    assert len({Pace(60, clock).left() for _ in range(20)}) > 1
