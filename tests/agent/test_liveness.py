"""Who is dead and when: the state machine with a clock of our own."""

from __future__ import annotations

from weft.agent.liveness import GRACE, INTERVAL, MISSES, Liveness

DEAD = MISSES * INTERVAL


def run(liveness: Liveness, start: float, seconds: float, answers: set[str] = frozenset()) -> float:  # type: ignore[assignment]
    """Looks every tenth of an interval; these peers answer every probe at once. The time at the end."""
    now = start
    while now < start + seconds:
        for name in liveness.look(now):
            if name in answers:
                liveness.heard(name, True, now)
        now += INTERVAL / 10
    return now


def test_a_peer_that_answers_lives_and_one_that_does_not_is_dead_within_a_second() -> None:
    liveness = Liveness()
    liveness.watch(["a", "b"], 0.0)
    assert not liveness.settled
    now = run(liveness, 0.0, DEAD + 0.1, {"a"})
    assert liveness.settled
    assert liveness.dead == {"b"}
    now = run(liveness, now, 1.0)
    assert liveness.dead == {"a", "b"}
    run(liveness, now, INTERVAL * 1.2, {"b"})
    assert liveness.dead == {"a"}, "one answer and it lives again"


def test_two_misses_are_no_death() -> None:
    liveness = Liveness()
    liveness.watch(["a"], 0.0)
    now = run(liveness, 0.0, 1.0, {"a"})
    now = run(liveness, now, 2 * INTERVAL)
    assert liveness.dead == frozenset()
    run(liveness, now, 5.0, {"a"})
    assert liveness.dead == frozenset()


def test_one_never_heard_of_is_alive_until_its_time_is_over() -> None:
    liveness = Liveness()
    liveness.watch(["a"], 0.0)
    run(liveness, 0.0, DEAD - 0.1)
    assert (liveness.dead, liveness.settled) == (frozenset(), False)


def test_a_host_without_agent_has_grace_and_then_is_dead() -> None:
    liveness = Liveness()
    liveness.watch(["a"], 0.0)
    now = run(liveness, 0.0, 1.0, {"a"})
    liveness.refused("a", now)
    now = run(liveness, now, GRACE - 0.2)
    assert liveness.dead == frozenset(), "its agent is being restarted"
    run(liveness, now, 1.0)
    assert liveness.dead == {"a"}


def test_one_that_is_not_ready_stays_what_it_was() -> None:
    liveness = Liveness()
    liveness.watch(["a"], 0.0)
    now = run(liveness, 0.0, DEAD + 0.1)
    assert liveness.dead == {"a"}
    liveness.heard("a", False, now)
    assert liveness.dead == {"a"}, "up again, but it has built nothing yet"
    liveness.heard("a", True, now)
    assert liveness.dead == frozenset()


def test_time_in_which_we_could_not_look_is_nobodys_silence() -> None:
    liveness = Liveness()
    liveness.watch(["a"], 0.0)
    now = run(liveness, 0.0, 1.0, {"a"})
    liveness.look(now + 10.0)
    assert liveness.dead == frozenset()
    run(liveness, now + 10.0, DEAD + 1.0)
    assert liveness.dead == {"a"}


def test_watching_others_forgets_who_is_not_watched_and_keeps_verdicts() -> None:
    liveness = Liveness()
    liveness.watch(["a", "b"], 0.0)
    now = run(liveness, 0.0, DEAD + 0.1, {"a"})
    liveness.watch(["b", "c"], now)
    assert liveness.dead == {"b"}
    assert not liveness.settled
    liveness.heard("a", True, now)
    liveness.refused("a", now)
    assert liveness.dead == {"b"}
    assert 0.0 <= liveness.wait(now) <= INTERVAL
