"""Each reason is told once; pauses grow, and begin anew once all is well."""

from __future__ import annotations

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.trouble import Trouble


def test_reasons_are_told_once_and_pauses_grow() -> None:
    said: list[str] = []
    trouble = Trouble(
        lambda event, *, warning=False, **values: said.append(f"{event} {values.get('error', '')}".strip())
    )
    one, other = (WeftError(Kind.FAILED, what) for what in ("no answer", "no room"))
    assert [trouble.again("backend", one) for _ in range(9)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]
    trouble.say("watch", one)
    trouble.say("backend", other)
    assert trouble.now() == ["backend: no room", "watch: no answer"]
    for _ in range(2):
        trouble.well("backend")
    assert trouble.again("backend", other) == 0.2
    assert said == ["backend no answer", "watch no answer", "backend no room", "backend: well again", "backend no room"]
