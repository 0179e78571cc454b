"""The same in a user namespace, as a lab without root runs it: links, rows, nftables and sysctls need no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import weft

pytestmark = pytest.mark.system
HERE = Path(__file__).parent


def test_a_user_namespace_is_enough() -> None:
    run = f"exec {sys.executable} -m pytest -q -p no:cacheprovider test_kernel_wire.py test_kernel_ownership.py"
    script = f"mount -t tmpfs tmpfs /run && mkdir /run/netns && {run}"
    done = subprocess.run(
        ["unshare", "-Urnm", "sh", "-c", script],
        cwd=HERE,
        env=os.environ | {"PYTHONPATH": str(Path(weft.__file__).parents[1])},  # the same code, wherever it stands
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "skipped" not in done.stdout
