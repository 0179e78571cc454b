"""The kinds of object that commands take by name, in the singular too."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.model.errors import Kind, WeftError

DECLARED = ("nodes", "networks", "routers", "ports")
READABLE = (*DECLARED, "endpoints")

Readable = Annotated[
    str, typer.Argument(metavar="KIND", help=f"{', '.join(READABLE)}.", autocompletion=lambda: list(READABLE))
]
Declared = Annotated[
    str,
    typer.Argument(
        metavar="KIND",
        help="node, network, router or port.",
        autocompletion=lambda: [kind.removesuffix("s") for kind in DECLARED],
    ),
]


def plural(word: str, known: tuple[str, ...]) -> str:
    """`port` and `ports` are both `ports`; raises USAGE for a kind there is none of."""
    kind = word.lower().removesuffix("s") + "s"
    if kind not in known:
        raise WeftError(Kind.USAGE, f"there is no kind '{word}'", remedy=f"one of {', '.join(known)}")
    return kind
