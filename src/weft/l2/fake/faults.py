"""Fault switches of the fake datapath. A test sets one, watches what comes of it, and clears it."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.plan.operations import (
    DropPort,
    DropRows,
    DropSegment,
    Operation,
    PutIrb,
    PutPort,
    PutRows,
    PutSegment,
)
from weft.plan.router import RouterDevice


@dataclass(slots=True)
class Faults:
    """`fail_nth`: the n-th operation from now on fails, counted from 1. `fail_kinds`: operations of these types fail.

    `fail_half`: row operations do the first half of their rows and then fail. `raise_after`: `apply` raises after so
    many operations, as if the process were cut off. `fail_observe`: `observe` raises. `lose_events`: nothing is told.
    `foreign`: segments and ports in whose place somebody else's object stands; it is never touched.
    """

    fail_nth: int | None = None
    fail_kinds: tuple[type, ...] = ()
    fail_half: bool = False
    raise_after: int | None = None
    fail_observe: bool = False
    lose_events: bool = False
    foreign: set[SegmentKey | str] = field(default_factory=set)

    def clear(self) -> None:
        fresh = Faults()
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))

    def check(self, operation: Operation) -> None:
        """Raises WeftError if this operation is to fail before it does anything."""
        if self.fail_nth is not None:
            self.fail_nth -= 1
            if self.fail_nth == 0:
                self.fail_nth = None
                raise WeftError(Kind.FAILED, "the n-th operation fails", where=str(operation))
        if isinstance(operation, self.fail_kinds):
            raise WeftError(Kind.FAILED, f"every {type(operation).__name__} fails", where=str(operation))
        place = _place(operation)
        if place in self.foreign:
            what = "a device that is not weft's stands where weft needs this name"
            raise WeftError(Kind.FAILED, what, where=str(place), remedy="rename or remove it")


def _place(operation: Operation) -> SegmentKey | RouterDevice | str:
    match operation:
        case PutPort(port) | DropPort(port):
            return port.name
        case PutRows(key) | DropRows(key):
            return key
        case PutSegment(segment) | DropSegment(segment):
            return segment.key
        case PutIrb(router, irb):
            return RouterDevice(router.name, irb.device)
        case _:
            return RouterDevice(operation.router.name, "")
