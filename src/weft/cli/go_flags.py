"""Options in the form of Go's flag package, for commands that stand in for programs written in Go.

One dash or two before a name, the value behind a space or an equals sign; a switch may have a value too, as in
`-ip-masq=false`. Source: golang.org/pkg/flag, "Command line flag syntax".
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Any

import typer.core

from weft.model.errors import Kind, WeftError

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class GoFlags(typer.core.TyperCommand):
    """A command whose options are declared with two dashes, and switches with `--name/--no-name`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if ctx.resilient_parsing else list(self._translated(iter(args))))

    def _translated(self, words: Iterator[str]) -> Iterator[str]:
        """Raises USAGE, naming the flag as Go's users know it."""
        for word in words:
            name, equals, value = word.lstrip("-").partition("=")
            if word == "--":
                yield word
                yield from words
            elif not word.startswith("-") or word == "-" or name in ("h", "help"):
                yield word if name != "help" else "--help"
            elif (option := self._option(name)) is None:
                close = get_close_matches(name, [option.opts[0].lstrip("-") for option in self._options], 1, 0.65)
                remedy = f"did you mean -{close[0]}?" if close else f"see `weft {self.name} --help`"
                raise WeftError(Kind.USAGE, f"no such option: -{name}", remedy=remedy)
            elif not option.is_flag:
                yield f"--{name}{equals}{value}"
                yield from islice(words, 0 if equals else 1)
            elif not equals or value in _TRUE:
                yield f"--{name}"
            elif value in _FALSE:
                yield from (option.secondary_opts if f"--{name}" in option.opts else option.opts)[:1]
            else:
                raise WeftError(Kind.USAGE, f"-{name} is {value!r}", remedy="use true or false")

    @property
    def _options(self) -> list[typer.core.TyperOption]:
        return [each for each in self.params if isinstance(each, typer.core.TyperOption)]

    def _option(self, name: str) -> typer.core.TyperOption | None:
        return next((each for each in self._options if f"--{name}" in (*each.opts, *each.secondary_opts)), None)
