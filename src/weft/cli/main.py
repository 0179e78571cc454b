"""`weft`: one module per command; this one puts them together and turns errors into lines and exit codes.

Exit codes: 0 fine, 1 failed or refused, 2 wrong usage or an invalid file, 130 interrupted. Every error is on standard
error as `weft: where: what; remedy`. Nothing heavy is imported before a command runs, so `weft --help` and shell
completion answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache, partial
from typing import Annotated

import typer

from weft import __version__
from weft.cli import (
    agent,
    apply,
    delete,
    demo,
    diff,
    doctor,
    flannel,
    get,
    go_flags,
    lab_test,
    options,
    output,
    outside,
    schema,
    show,
    sim,
    status,
    subnet_file,
)
from weft.cli import store as store_command
from weft.model.errors import WeftError, WeftErrors

app = typer.Typer(
    name="weft",
    help="Many isolated virtual networks across Linux hosts, over VXLAN: one file, one agent per host.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: no 60 ms for importing rich
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (apply, diff, get, delete, show, status, doctor, agent, demo, sim, schema, outside):
    app.command(name=command.__name__.rpartition(".")[2])(command.command)
app.command(name="subnet-file")(subnet_file.command)
app.command(name="flannel", cls=go_flags.GoFlags)(flannel.command)
app.add_typer(lab_test.app, name="lab")  # with `lab test`, which registers itself there
app.add_typer(store_command.app, name="store")


def _version(wanted: bool) -> None:
    if wanted:
        output.say(f"weft {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    store: options.Store = None,
    cluster: options.Cluster = None,
    lab: options.Lab = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    # Before a command these options stand for its own, which read the same variables.
    for name, value in (("WEFT_STORE", store), ("WEFT_CLUSTER", cluster), ("WEFT_LAB", lab)):
        if value:
            os.environ[name] = value


_command = cache(partial(typer.main.get_command, app))  # 30 ms, once a process: tests run many lines in one


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; prints every error that users can meet."""
    try:
        arguments = list(arguments) if arguments is not None else None
        code = _command().main(args=arguments, prog_name="weft", standalone_mode=False)
        sys.stdout.flush()
    except WeftErrors as several:
        for error in several.errors:
            output.warn(str(error))
        return several.exit_code
    except WeftError as error:
        output.warn(str(error))
        return error.exit_code
    except typer.Abort:
        output.warn("given up")
        return 1
    except BrokenPipeError:  # the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not hasattr(error, "format_message"):  # only typer's own errors of usage have it
            raise
        return _usage(error)
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> int:
    """A wrong command line, in one line; a command group without a command shows its help."""
    message = str(getattr(error, "format_message")()).rstrip(".")  # noqa: B009 - typer keeps the class to itself
    message = message.replace(": Value error, ", ": ")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "weft"
    if context is not None and message.startswith("Usage:"):
        output.say(message, error=True)
    else:
        output.warn(f"{message}; see `{command} --help`")
    return 2


def main() -> None:
    """The entry point."""
    sys.exit(run())
