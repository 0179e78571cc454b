"""One store per test, and `weft` in this process or as one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from weft.cli import main

FLEET = """\
nodes:
  h1: {vtep: 192.168.33.12}
  h2: {vtep: 192.168.33.13}
networks:
  blue: {vni: 5000, subnet: 10.1.1.0/24}
  red: {vni: 6000, subnet: 10.1.1.0/24}
ports:
  a: {network: blue, node: h1}
  b: {network: blue, node: h2, ips: [10.1.1.12]}
  c: {network: red, node: h1, mac: 02:00:00:00:00:0c}
"""


@dataclass(frozen=True)
class Answer:
    """What a command line came to."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Weft:
    """`weft(…)` runs in this process; `weft.process(…)` starts one."""

    directory: Path
    captured: pytest.CaptureFixture[str]

    @property
    def url(self) -> str:
        return f"sqlite://{self.directory}/weft.db"

    def __call__(self, *arguments: str) -> Answer:
        self.captured.readouterr()
        code = main.run(arguments)
        said = self.captured.readouterr()
        return Answer(code, said.out, said.err)

    def file(self, text: str, name: str = "fleet.yaml") -> str:
        (self.directory / name).write_text(text)
        return name

    def apply(self, text: str, *more: str, name: str = "fleet.yaml") -> Answer:
        return self("apply", "-f", self.file(text, name), *more)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "weft", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.directory,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        )

    def process(self, *arguments: str, stdin: str = "") -> Answer:
        return finished(
            subprocess.run(
                [sys.executable, "-m", "weft", *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                cwd=self.directory,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
                check=False,
            )
        )


def finished(done: subprocess.CompletedProcess[str]) -> Answer:
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def weft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Weft:
    for name in ("WEFT_LAB", "WEFT_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    made = Weft(tmp_path, capsys)
    monkeypatch.setenv("WEFT_STORE", made.url)
    monkeypatch.setenv("WEFT_LABS", str(tmp_path / "labs"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return made
