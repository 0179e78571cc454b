"""`tables` steps, on rows made by hand."""

from __future__ import annotations

import pytest

from tests.lab.test_lab_judge import MAC_A, NAMES
from weft.lab.tables import judge
from weft.model.errors import WeftError

ROWS = [
    {"network": "blue", "vni": "5000", "mac": MAC_A, "vtep": "192.168.33.12", "node": "h1", "state": "ok"},
    {"network": "green", "vni": "6000", "mac": MAC_A, "vtep": "192.168.34.13", "node": "h2", "state": "ok"},
]


def test_names_stand_for_addresses() -> None:
    assert judge("fdb", [{"network": "blue", "mac": "port:a", "vtep": "h1"}], ROWS, NAMES) is None
    assert judge("fdb", [{"vtep": "192.168.34.13"}], ROWS, NAMES) is None


def test_a_missing_row_is_told_with_what_is_there() -> None:
    wrong = judge("fdb", [{"network": "blue", "vtep": "h2"}], ROWS, NAMES) or ""
    assert wrong.startswith("fdb has no row {network: blue, vtep: h2}\n  {network: blue, vni: 5000")


def test_exactly_speaks_of_the_networks_that_are_named() -> None:
    assert judge("fdb", [{"network": "blue", "mac": "port:a"}], ROWS, NAMES, exactly=True) is None
    more = [*ROWS, ROWS[0] | {"mac": "02:00:00:00:00:99"}]
    assert "a row too many" in (judge("fdb", [{"network": "blue", "mac": "port:a"}], more, NAMES, exactly=True) or "")


def test_a_row_that_is_only_planned_is_not_held() -> None:
    planned = [ROWS[0] | {"state": "missing"}]
    assert judge("fdb", [{"network": "blue"}], planned, NAMES) is not None
    assert judge("fdb", [{"network": "blue", "state": "missing"}], planned, NAMES) is None


def test_an_unknown_column_is_a_mistake_in_the_file() -> None:
    with pytest.raises(WeftError, match="table fdb has no column 'colour'"):
        judge("fdb", [{"colour": "blue"}], ROWS, NAMES)


def test_an_empty_table() -> None:
    assert "it is empty" in (judge("fdb", [{"mac": "port:a"}], [], NAMES) or "")
