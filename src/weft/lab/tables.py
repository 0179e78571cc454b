"""`tables` steps: rows that a node must hold, as patterns over the columns of `weft show -o json`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from weft.lab.names import Names
from weft.model.errors import Kind, WeftError
from weft.model.lab import MAC_NAMES

Row = Mapping[str, str]
_VTEPS = ("vtep", "to")  # columns in which a node's name stands for its VTEP


def judge(
    table: str, patterns: Sequence[Row], rows: Sequence[Row], names: Names, *, exactly: bool = False
) -> str | None:
    """None if every pattern has its row, else which has not, and what is there. `exactly`: see model.lab.Tables."""
    meant = [_meaning(pattern, names) for pattern in patterns]
    if not any("state" in pattern for pattern in patterns):
        rows = [row for row in rows if row.get("state") != "missing"]  # planned, but the datapath does not hold it
    for pattern, wanted in zip(patterns, meant, strict=True):
        if rows and (unknown := [key for key in wanted if key not in rows[0]]):
            raise WeftError(
                Kind.INVALID, f"table {table} has no column '{unknown[0]}'", remedy=f"it has {', '.join(rows[0])}"
            )
        if not any(_fits(wanted, row) for row in rows):
            return f"{table} has no row {_text(pattern)}\n{listing(rows)}"
    if exactly:
        networks = {wanted["network"] for wanted in meant if "network" in wanted}
        for row in rows:
            inside = not networks or row.get("network") in networks
            if inside and not any(_fits(wanted, row) for wanted in meant):
                return f"{table} has a row too many: {_text(row)}\n{listing(rows)}"
    return None


def listing(rows: Iterable[Row]) -> str:
    return "\n".join(f"  {_text(row)}" for row in rows) or "  it is empty"


def _meaning(pattern: Row, names: Names) -> Row:
    """The pattern with `port:NAME` and the like replaced by MACs, and nodes by their VTEPs."""
    wanted = {}
    for key, value in pattern.items():
        if value.startswith(MAC_NAMES):
            value = names.port_mac(value)
        elif key in _VTEPS and value in names.intent.nodes:
            value = names.intent.nodes[value].vtep
        wanted[key] = value
    return wanted


def _fits(wanted: Row, row: Row) -> bool:
    return all(row.get(key) == value for key, value in wanted.items())


def _text(row: Row) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in row.items() if value) + "}"
