"""How `weft` starts and ends as a process: what it imports, colour, signals, pipes, completion."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tests.cli.conftest import FLEET, Weft
from weft.cli import output

# For `weft --help`. Below a command newer versions of typer take options' values with pydantic themselves.
HEAVY = {"pyroute2", "numpy", "pydantic", "rich", "structlog", "asyncio", "yaml", "sqlite3"}
_IMPORTS = """
import json, sys
from weft.cli import main
sys.stdout.flush()
code = main.run(json.loads(sys.argv[1]))
print("\\n" + json.dumps([code, sorted(name for name in sys.modules if "." not in name)]))
"""


def imported(*arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command line and the modules it has imported."""
    answer = subprocess.run(
        [sys.executable, "-c", _IMPORTS, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    code, names = json.loads(answer.stdout.splitlines()[-1])
    return code, set(names)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code, names = imported(*arguments)
    assert code == 0
    assert names & HEAVY == set()


@pytest.mark.parametrize("arguments", [["apply", "--help"], ["lab", "test", "--help"], ["show", "--help"]])
def test_help_of_a_command_imports_nothing_heavy_of_ours(arguments: list[str]) -> None:
    code, names = imported(*arguments)
    assert code == 0
    assert names & (HEAVY - {"pydantic", "asyncio", "rich"}) == set()


def test_reading_the_store_imports_no_tables(weft: Weft) -> None:
    weft.apply("nodes: {h1: {vtep: 192.168.33.12}}")
    code, names = imported("get", "nodes")
    assert code == 0
    assert names & {"pyroute2", "numpy", "structlog"} == set()


@pytest.mark.parametrize(
    "command",
    [
        *(
            "apply",
            "diff",
            "get",
            "delete",
            "agent",
            "show",
            "status",
            "doctor",
            "schema",
            "demo",
            "sim",
            "subnet-file",
        ),
        *("lab up", "lab down", "lab list", "lab exec", "lab test", "store migrate", "subnet-file"),
    ],
)
def test_every_command_explains_itself(weft: Weft, command: str) -> None:
    answer = weft(*command.split(), "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: weft {command} ")
    assert len(answer.out.splitlines()) > 4


def test_every_reading_command_speaks_json(weft: Weft) -> None:
    for command in ("diff", "get", "show", "status", "doctor", "lab list"):
        assert "--output" in weft(*command.split(), "--help").out


def test_options_before_the_command_count_too(weft: Weft) -> None:
    answer = weft.process("--store", "sqlite:///proc/x", "get", "nodes")
    assert answer.code == 1
    assert answer.err.startswith("weft: /proc/x: ")


def test_the_reader_of_a_pipe_may_leave(weft: Weft) -> None:
    weft.file(FLEET)
    answer = subprocess.run(
        f"{sys.executable} -m weft schema | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    assert answer.stdout == "{\n"
    assert answer.stderr == ""


def test_interrupted_is_130(weft: Weft) -> None:
    weft.file(FLEET)
    running = weft.start("apply", "-f", "fleet.yaml", "--wait", "--timeout", "30")
    assert running.stdout
    for _ in range(7):
        running.stdout.readline()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130
    assert err == ""


def test_completion_knows_commands_and_kinds(weft: Weft, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, found in (("weft ap", "apply"), ("weft get ne", "networks"), ("weft show fl", "flood")):
        monkeypatch.setenv("_WEFT_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        answer = subprocess.run(
            [sys.executable, "-c", "from weft.cli.main import main; main()"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        )
        assert found in answer.stdout.split(), answer


class Terminal:
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal: object = Terminal()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.coloured(terminal)  # type: ignore[arg-type]
    monkeypatch.setenv("TERM", "dumb")
    assert not output.coloured(terminal)  # type: ignore[arg-type]
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.coloured(terminal)  # type: ignore[arg-type]


def test_ages() -> None:
    assert [output.age(seconds) for seconds in (-1, 0.4, 59, 60, 7200, 200_000)] == [
        "0s",
        "0s",
        "59s",
        "1m",
        "2h",
        "2d",
    ]


def test_show_knows_the_tables_and_columns_that_agents_answer_with() -> None:
    from weft.agent import show as agents
    from weft.cli.show import COLUMNS

    assert list(COLUMNS) == [*agents.TABLES, "drops", "flows"]
    told = dict(re.findall(r"^    (\w+) +(\w+(?: \w+)*?)(?:  |$)", agents.__doc__ or "", re.MULTILINE))
    assert {table: " ".join(columns) for table, columns in COLUMNS.items()} == told
