"""What every test shares: the rule on skips, and where the reference captures stand."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# Property tests have no deadline: a busy machine is no bug.
settings.register_profile("weft", deadline=None)
settings.load_profile("weft")


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


REPOSITORY = Path(__file__).resolve().parent.parent
