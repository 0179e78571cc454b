"""Options in the form of Go's flag package, for commands that stand in for programs written in Go.

One dash or two before a name, the value behind a space or an equals sign; a switch may have a value too, as in
`-ip-masq=false`. Source: golang.org/pkg/flag, "Command line flag syntax".
"""

from __future__ import annotations

from typing import Any

import typer.core

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class GoFlags(typer.core.TyperCommand):
    """A command whose options are declared with two dashes, and switches with `--name/--no-name`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [self._translated(word) for word in args])

    def _translated(self, word: str) -> str:
        if not word.startswith("-") or word in ("-", "--", "-h"):
            return word
        name, equals, value = word.lstrip("-").partition("=")
        for parameter in self.params:
            if isinstance(parameter, typer.core.TyperOption) and f"--{name}" in parameter.opts:
                if not parameter.is_flag or not equals:
                    return f"--{name}{equals}{value}"
                if value in _TRUE:
                    return f"--{name}"
                if value in _FALSE:
                    return parameter.secondary_opts[0] if parameter.secondary_opts else f"--no-{name}"
        return word
