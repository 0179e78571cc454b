"""docs/commands.md is run: `console` blocks print what they say they print, `shell` blocks succeed in a lab."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Weft
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "commands.md"
LAB = """\
expect:
  - ping: {from: a, to: b}
mutations:
  no-way: {h1: ["ip link set eth1 down"]}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def shell(weft: Weft, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a line as a shell does, `weft` being this tree's."""
    path = weft.directory / "bin" / "weft"
    if not path.exists():
        path.parent.mkdir()
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -m weft "$@"\n')
        path.chmod(0o755)
    environment = os.environ | {"PATH": f"{path.parent}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.system
def test_console_blocks_print_what_they_say(weft: Weft) -> None:
    weft.file(blocks("yaml")[0])
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, wanted = part.partition("\n")
            done = shell(weft, command)
            assert done.stdout + done.stderr == wanted, command


@pytest.mark.system
def test_shell_blocks_succeed(weft: Weft) -> None:
    fleet, mine = blocks("yaml")[0], os.getpid()  # what a lab makes has its name, for all of the machine to see
    weft.file(fleet, f"fleet-{mine}.yaml")
    weft.file(fleet + LAB, f"lab-{mine}.yaml")
    try:
        for block in blocks("shell"):
            for command in re.sub(r"\bfleet\b|\blab(?=\.yaml)", rf"\g<0>-{mine}", block).splitlines():
                done = shell(weft, command)
                assert done.returncode == 0, (command, done)
    finally:
        shell(weft, "weft lab down --all")  # of this test's own directory
    assert {path.name for path in Path("captures").iterdir()} == {"step-01.pcapng"}
