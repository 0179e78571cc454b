"""The one error type that users meet, with a closed list of kinds.

Every message names the thing, says what is wrong with it and what to do. A kind decides the exit code and whether the
same call can succeed later without anybody changing the input.
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What went wrong, as far as a program that reads `-o json` needs to know."""

    INVALID = "invalid"  # the file or a value in it: exit 2
    USAGE = "usage"  # the command line: exit 2
    REFUSED = "refused"  # valid, but contradicts what a node says of itself or what is stored: exit 1
    NOT_FOUND = "not-found"
    UNSUPPORTED = "unsupported"  # this kernel or this datapath cannot do it
    UNREACHABLE = "unreachable"  # store or agent: worth another try
    CONFLICT = "conflict"  # somebody else changed it first: worth another try
    FAILED = "failed"  # the kernel said no


_RETRY = frozenset({Kind.UNREACHABLE, Kind.CONFLICT, Kind.FAILED})
_USAGE = frozenset({Kind.INVALID, Kind.USAGE})


class WeftError(Exception):
    """One clear error: `where` (file:line or an object's name), what is wrong, and the remedy.

    `str()` gives the single line a person reads: `where: what; remedy`.
    """

    def __init__(self, kind: Kind, what: str, *, where: str = "", remedy: str = "") -> None:
        self.kind = kind
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.remedy}" if self.remedy else text

    @property
    def retry(self) -> bool:
        """Whether the same call may succeed later with the same input."""
        return self.kind in _RETRY

    @property
    def exit_code(self) -> int:
        """2 for wrong usage or an invalid file, 1 for anything else that failed or was refused."""
        return 2 if self.kind in _USAGE else 1


class WeftErrors(WeftError):
    """Several errors found in one go, such as all that is wrong with one file; as severe as the first."""

    def __init__(self, errors: list[WeftError]) -> None:
        self.errors = errors
        super().__init__(errors[0].kind, errors[0].what, where=errors[0].where, remedy=errors[0].remedy)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
