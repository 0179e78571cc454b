"""`weft lab`: a whole fleet on one machine, out of network namespaces; without root as well.

An ordinary user's lab lives in namespaces that a process of theirs holds. Commands that work inside it enter first,
before anything with threads is imported (weft.lab.rootless); root's commands need not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import options, output
from weft.cli.building import building
from weft.cli.files import read
from weft.cli.options import Output
from weft.model.errors import Kind, WeftError

if TYPE_CHECKING:
    from weft.lab.lab import Listed

app = typer.Typer(
    help="Run a fleet on this machine: hosts out of namespaces, real packets, no root needed.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _known() -> list[str]:
    """Names of labs, for completion."""
    from weft.lab.place import base

    return sorted(path.name for path in base().glob("*") if path.is_dir())


Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The lab's name. Default: the file's.")]
Processes = Annotated[int, typer.Option("--processes", min=1, metavar="N", help="Processes that share the agents.")]
Timeout = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long agents may take to be in sync.")]


@app.command("up")
def up(
    file: Annotated[list[str], typer.Argument(metavar="FILE", help="The lab; several files are one.")],
    name: Name = "",
    processes: Processes = 1,
    offloads: Annotated[
        bool, typer.Option("--offloads/--no-offloads", help="Off: captures show packets as a NIC would send them.")
    ] = True,
    agents: Annotated[bool, typer.Option("--agents/--no-agents", help="Without: start them yourself.")] = True,
    timeout: Timeout = 60.0,
) -> None:
    """Build a lab, start its agents and wait until they are in sync.

    Leaves nothing behind where it fails. Afterwards `weft --lab NAME` speaks to it: apply, status, show, doctor.
    """
    begun = time.monotonic()
    document = read(file)
    with building(name or document.lab.name), output.progress() as tell:
        from weft.lab import lab

        made = lab.up(
            document,
            name,
            offloads=offloads,
            agents=agents,
            processes=processes,
            timeout=timeout,
            source=" ".join(file),
            progress=lambda what, done, of: tell(f"{what} {done}/{of}"),
        )
    output.say(f"lab {made.name} is up: {len(document.intent.nodes)} hosts, {time.monotonic() - begun:.1f} s")
    output.say(f"  weft --lab {made.name} status · weft lab exec {made.name}:HOST -- CMD · weft lab down {made.name}")


@app.command("down")
def down(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Default: the only one.", autocompletion=_known)
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All labs of this user.")] = False,
) -> None:
    """Stop a lab and remove exactly what it made."""
    from weft.lab import lab, state

    names = [each.name for each in state.every()] if all_ else [name or _only()]
    for each in names:
        lab.down(each)
        output.say(f"lab {each} is down")
    if not names:
        output.say("no lab is up")


@app.command("list")
def list_(format: options.Format = Output.TEXT) -> None:
    """List the labs of this user.

    STATUS: up; broken: agents or namespaces are missing; stale: from before a restart; half-built: its `up` was killed.
    """
    from weft.lab import lab

    found = lab.listing()
    if format is Output.JSON:
        output.say_json(found)
    elif found:
        columns = ("name", "status", "hosts", "containers", "age", "source")
        output.columns([_row(each) for each in found], columns)
    else:
        output.say("no lab is up")


def _row(lab: Listed) -> dict[str, str]:
    return {
        "name": lab.name,
        "status": lab.status,
        "hosts": str(lab.hosts),
        "containers": str(lab.containers),
        "age": output.age(time.time() - lab.created) if lab.created else "",
        "source": lab.source,
    }


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def exec_(
    where: Annotated[
        str, typer.Argument(metavar="HOST", help="Host, port or container; LAB:HOST where several labs are up.")
    ],
    argv: Annotated[list[str], typer.Argument(metavar="-- CMD", help="The command and its arguments.")],
    lab: options.Lab = None,
) -> None:
    """Run a command in a host, or in what is behind a port.

    Its input, output and exit code are the command's own.
    """
    from weft.lab import rootless

    given, colon, host = where.rpartition(":")
    name = given if colon else lab or _only()
    rootless.enter(name)
    from weft.lab.lab import exec_ as run_in

    raise typer.Exit(run_in(name, host, argv[1:] if argv[0] == "--" else argv))


def _only() -> str:
    """The name of the only lab there is; raises NOT_FOUND or USAGE."""
    from weft.lab import state

    names = [each.name for each in state.every()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise WeftError(Kind.NOT_FOUND, "no lab is up", remedy="weft lab up FILE")
    raise WeftError(Kind.USAGE, "which lab?", remedy=f"name one of {', '.join(names)}")
