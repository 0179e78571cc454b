"""Options that several commands share, declared once: names, environment variables, help."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Output(StrEnum):
    """What a reading command prints: columns for people, JSON for programs."""

    TEXT = "text"
    JSON = "json"


Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="WEFT_STORE",
        metavar="URL",
        help="sqlite:///var/lib/weft/weft.db (root's default; else in the user's state directory) or etcd://host:2379,…",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", envvar="WEFT_CLUSTER", metavar="NAME", help="Which fleet in the store. [default: default]"
    ),
]
Lab = Annotated[
    str | None,
    typer.Option("--lab", envvar="WEFT_LAB", metavar="NAME", help="A running lab, instead of store and cluster."),
]
Format = Annotated[Output, typer.Option("-o", "--output", help="What to print.")]
Files = Annotated[
    list[str], typer.Option("-f", "--file", metavar="FILE", help="A file to read; - is standard input. Repeatable.")
]
