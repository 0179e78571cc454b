"""A datapath that counts: operations and rows are done in memory and told by number."""

from __future__ import annotations

from collections.abc import Sequence

from weft.l2.datapath import Applied
from weft.l2.fake import FakeDatapath
from weft.plan.operations import DropRows, Operation, PutRows


class CountingDatapath(FakeDatapath):
    """`operations` and `rows` applied since it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.rows = 0

    def apply(self, operations: Sequence[Operation]) -> Applied:
        applied = super().apply(operations)
        self.log.clear()  # which would grow for ever
        self.operations += len(applied.done)
        self.rows += sum(len(each.rows) for each in applied.done if isinstance(each, PutRows | DropRows))
        return applied
