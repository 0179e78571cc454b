"""The system's own Open vSwitch, at the system's own places: Weft finds it there, and leaves what others have in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.system


def test_what_others_have_in_the_systems_switch_survives_weft_and_its_cleanup(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["bash", str(Path(__file__).with_name("system_host.sh")), str(tmp_path)]
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in done.stdout.split("== ")[1:]}
    (row,) = json.loads(found["shown"])
    assert (row["network"], row["vtep"], row["state"]) == ("blue", "192.168.33.13", "ok")
    assert "somebody" in found["before"]
    assert found["with"].startswith(found["before"])
    assert found["after"].startswith(found["before"])
    for later in ("with", "after"):
        assert "foreign0" in found[later]
        assert "cookie=0xbeef, table=20, priority=5,dl_vlan=9 actions=drop" in found[later]
    assert found["left"].split()[:3] == ["br-ex", "br-int", "br-tun"]
    assert "192.168.33.12/24" in found["left"]
