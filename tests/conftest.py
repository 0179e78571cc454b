"""What every test shares: the rule on skips, how tests are spread over processes, names for labs."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from weft.lab import lab, state

# Property tests have no deadline: a busy machine is no bug.
settings.register_profile("weft", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=30)
settings.load_profile("weft")


def pytest_configure(config: pytest.Config) -> None:
    """Where thorough tests are not wanted, the others are tried with fewer examples too."""
    if "not thorough" in config.getoption("markexpr"):
        settings.load_profile("fast")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With WEFT_FORBID_SKIPS=1 (CI) a skipped test is a failed one: CI's machine can run everything."""
    report = yield
    if report.skipped and os.environ.get("WEFT_FORBID_SKIPS") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped although skips are forbidden here: {report.longrepr}"
    return report


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of system tests alone are not even read where none of these is wanted: that takes seconds."""
    if "not system" not in config.getoption("markexpr") or collection_path.suffix != ".py":
        return None
    return "\npytestmark = pytest.mark.system\n" in collection_path.read_text() or None


WHOLE = ("tests/agent/test_life_etcd.py", "tests/packaging/test_deb.py", "tests/store/test_etcd_access.py")


class Scheduling(LoadScopeScheduling):
    """Tests go to whichever process is free; those of files whose tests share a fixture go to one, in order."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in WHOLE else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A name for a lab, unlike any other process's; its record stands below the test's directory, gone afterwards."""
    monkeypatch.setenv("WEFT_LABS", str(tmp_path / "labs"))
    yield f"t{os.getpid()}"
    for place in state.every():
        lab.down(place.name)
