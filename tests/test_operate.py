"""docs/operate.md tells the truth: its commands run, its errors and metrics are the program's own, all of them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.test_agent import BEFORE, fed
from tests.conftest import REPOSITORY
from weft.agent import metrics
from weft.l2.fake import FakeDatapath
from weft.lab import lab
from weft.model.file import parse

PAGE = (REPOSITORY / "docs/operate.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.system
def test_commands_run_in_a_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`weft apply` and its like find the lab's store; its agents answer."""
    monkeypatch.setenv("WEFT_LABS", str(tmp_path / "labs"))
    monkeypatch.chdir(tmp_path)
    name = f"o{os.getpid()}"
    Path("fleet.yaml").write_text(blocks("yaml")[0])
    Path("weft").write_text(f'#!/bin/sh\nexec {sys.executable} -m weft "$@"\n')
    Path("weft").chmod(0o755)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WEFT_LAB": name, "PYTHONPATH": path}
    lab.up(parse({"fleet.yaml": blocks("yaml")[0]}), name)
    try:
        for line in "".join(blocks("shell")).splitlines():
            done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, env=environment)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert "NODE  IN SYNC  ALIVE  REVISION" in PAGE
    finally:
        lab.down(name)


def test_every_error_of_the_page_is_the_programs() -> None:
    source = "\n".join(path.read_text() for path in sorted((REPOSITORY / "src/weft").rglob("*.py")))
    source = source.replace("{doing}", "create the")  # of weft.netlink.channel.failure
    section = PAGE.partition("| what it says |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)
    assert len(told) > 20
    for text in told:
        for piece in filter(None, (piece.strip(" ()`") for piece in text.split("…"))):
            assert piece in source, text


def test_every_metric_is_on_the_page_and_every_one_there_is_served() -> None:
    async def names() -> set[str]:
        _, agent = await fed(BEFORE, FakeDatapath())
        agent.reconcile()
        text = metrics.text(metrics.registry(agent)).decode()
        families = re.findall(r"^# TYPE (weft_\S+) ", text, re.MULTILINE)
        return set(families)

    section = PAGE.partition("## Monitoring")[2].partition("Alerts worth")[0]
    assert set(re.findall(r"`(weft_[a-z_]+)`", section)) == asyncio.run(names())


def test_every_event_of_the_log_is_on_the_page() -> None:
    sources = [*(REPOSITORY / "src/weft/agent").glob("*.py"), REPOSITORY / "src/weft/cli/agent.py"]
    sources.append(REPOSITORY / "src/weft/l2/user/client.py")
    text = "\n".join(path.read_text() for path in sources)
    events = set(re.findall(r'(?:_?log\.(?:info|warning|error)|_log)\(\s*"([a-z ]+)"', text))
    section = PAGE.partition("## Logs")[2].partition("## Trouble")[0]
    rows = " ".join(re.findall(r"^\| (`.+?) \|", section, re.MULTILINE))
    assert events == set(re.findall(r"`([a-z ]+)`", rows))
