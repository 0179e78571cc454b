"""`weft lab test`: up, the file's `expect` steps, down; and whether each of its mutations is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import lab, output
from weft.cli.building import building
from weft.cli.files import read
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.lab.runner import Verdict
    from weft.model.file import Document

app = lab.app


@app.command("test")
def command(
    file: Annotated[list[str], typer.Argument(metavar="FILE", help="Labs, one after the other.")],
    name: lab.Name = "",
    pcap: Annotated[
        Path | None,
        typer.Option("--pcap", metavar="DIR", help="Write what each step put on the underlay there, as pcapng."),
    ] = None,
    mutation: Annotated[
        str, typer.Option("--mutation", metavar="NAME", help="Break the lab so; a step must notice.")
    ] = "",
    mutations: Annotated[
        bool, typer.Option("--mutations", help="All mutations of the file, after the plain lab.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the lab up.")] = False,
    processes: lab.Processes = 1,
    timeout: lab.Timeout = 60.0,
) -> None:
    """Build each lab, check what it expects, take it down.

    A line a step; exit 1 if one fails. With a mutation the lab is broken on purpose after it has come up, and the
    test fails if no step notices.
    """
    if keep and (mutation or mutations):
        raise WeftError(Kind.USAGE, "--keep does not go with mutations", remedy="leave one of them out")
    good = True
    for each in file:
        document = read([each])
        where = pcap / document.lab.name if pcap and len(file) > 1 else pcap
        test = _Test(document, name, each, processes, timeout)
        output.paint(output.colour(each, "bold"))
        with building(name or document.lab.name):
            if not mutation:
                good &= test.kept(where) if keep else test.plain(where)
            for one in [mutation] if mutation else [found.name for found in document.lab.mutations if mutations]:
                good &= test.broken(one)
    if not good:
        raise typer.Exit(1)


class _Test:
    """One lab under test."""

    def __init__(self, document: Document, name: str, source: str, processes: int, timeout: float) -> None:
        self._document, self._name, self._source = document, name, source
        self._processes, self._timeout = processes, timeout

    def plain(self, pcap: Path | None) -> bool:
        return self._run(pcap, "", tell_verdict)

    def broken(self, mutation: str) -> bool:
        """With a mutation: whether a step has noticed; tells which."""
        noticed: list[Verdict] = []
        caught = self._run(None, mutation, lambda verdict: noticed.append(verdict) if not verdict.ok else None)
        by = f"noticed by line {noticed[0].line}, {noticed[0].what}" if noticed else "no step noticed it"
        _line(caught, f"mutation {mutation}", by)
        return caught

    def kept(self, pcap: Path | None) -> bool:
        """As `plain`, and the lab stays up."""
        from weft.lab import lab as labs

        with output.progress() as tell:
            place = labs.up(
                self._document,
                self._name,
                offloads=False,
                processes=self._processes,
                timeout=self._timeout,
                source=self._source,
                progress=lambda what, done, of: tell(f"{what} {done}/{of}"),
            )
        verdicts = labs.runner_of(place, pcap).run(self._document.lab.expect, progress=tell_verdict)
        output.say(f"  lab {place.name} stays up; weft lab down {place.name}")
        return all(verdict.ok for verdict in verdicts)

    def _run(self, pcap: Path | None, mutation: str, told: Callable[[Verdict], None]) -> bool:
        from weft.lab import lab as labs

        with output.progress() as tell:

            def clear_and_tell(verdict: Verdict) -> None:
                tell("")
                told(verdict)

            return labs.test(
                self._document,
                name=self._name,
                pcap=pcap,
                mutation=mutation,
                processes=self._processes,
                timeout=self._timeout,
                source=self._source,
                progress=lambda what, done, of: tell(f"{what} {done}/{of}"),
                told=clear_and_tell,
            ).good


def tell_verdict(verdict: Verdict, *, numbered: bool = True) -> None:
    """One line a step, and what was wrong below it."""
    first, _, rest = verdict.detail.partition("\n")
    what = f"line {verdict.line:>3}  {verdict.what}" if numbered else verdict.what
    _line(verdict.ok, what, f"{first}  {verdict.seconds:.1f} s".strip())
    if rest and not verdict.ok:
        output.say("\n".join(f"      {line}" for line in rest.splitlines()))


def _line(good: bool, what: str, detail: str) -> None:
    sign = output.colour("✓", "green") if good else output.colour("✗", "red")
    output.paint(f"  {sign} {output.colour(what, '')}  {output.colour(detail, 'dim')}")
