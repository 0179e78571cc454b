"""Mixed load for a long time: no wrong byte, no leak, no crash; noise is counted and has no effect.

`make soak` runs ten minutes of it, `make test` one; WEFT_SOAK says how many seconds.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.l2.l2_world import BLUE, IPS, MACS, Overlay, Underlay, ip, reaches
from tests.l2.user.frames import udp
from tests.l2.user.soak import FORGED, Load, churn, datagrams, noise, restart, transfer
from tests.l2.user.stage import eventually, resident, stage
from weft.l2.user.datapath import UserDatapath
from weft.l2.user.process import run_directory
from weft.model.address import int_to_mac
from weft.model.network import Arp

SECONDS = int(os.environ.get("WEFT_SOAK", "50"))
STRANGER = "192.168.33.77"
GROWTH = 32 << 20  # octets of memory that may come on top of what a tenth of the time has needed

pytestmark = [pytest.mark.system, pytest.mark.timeout(SECONDS + 600)]

A4, B4 = (ips[0].split("/")[0] for ips in IPS)
OVERLAY = Overlay(learning=True, arp=Arp.FLOOD, age=5)
DATA = random.Random(13).randbytes(16 << 20)


def test_mixed_load(underlay: Underlay) -> None:
    ip(underlay.hosts[1], "ip", "address", "add", f"{STRANGER}/24", "dev", "eth1")
    with stage(underlay, OVERLAY, "uu") as (mine, other), ExitStack() as stack:
        assert isinstance(mine, UserDatapath)
        assert isinstance(other, UserDatapath)
        stopping = threading.Event()
        load = _load(underlay, other, stopping, stack)
        pid, log = mine.pid, run_directory("default", mine.host) / "log"
        assert pid is not None
        for each in load:
            each.start()
        time.sleep(SECONDS / 10)
        memory, descriptors = resident(pid), _descriptors(pid)
        until = time.monotonic() + SECONDS * 0.9
        while time.monotonic() < until and not any(each.wrong for each in load):
            time.sleep(0.2)
            assert FORGED not in _learned(mine)
        assert eventually(lambda: len(_learned(other)) > 20), "the restarted one learns anew"
        stopping.set()
        for each in load:
            each.join(120)
        assert [fault for each in load for fault in each.wrong] == []
        assert [each.name for each in load if each.is_alive() or not each.done] == []
        assert mine.pid == pid
        assert "Traceback" not in log.read_text()
        drops = mine.counters().drops
        assert min(drops["not a member"], drops["not VXLAN"]) > 0
        assert resident(pid) - memory < GROWTH
        assert _descriptors(pid) <= descriptors + 2
        assert eventually(lambda: reaches(underlay, B4))
        told = ", ".join(f"{each.name} {each.done:,}" for each in load)
        print(f"\n{SECONDS} s: {told}; memory {memory >> 20} → {resident(pid) >> 20} MiB; drops {dict(drops)}")


def _load(world: Underlay, other: UserDatapath, stopping: threading.Event, stack: ExitStack) -> list[Load]:
    a, b = f"{world.prefix}a", f"{world.prefix}b"
    send_b, look_b = stack.enter_context(datagrams(a, b, B4, 7001))
    send_a, look_a = stack.enter_context(datagrams(b, a, A4, 7002))
    frame = udp(b"churn", src=MACS[0], dst="ff:ff:ff:ff:ff:ff")
    steps = [
        ("octets a→b", transfer(a, b, B4, 5001, DATA), 0),
        ("octets b→a", transfer(b, a, A4, 5002, DATA), 0),
        ("datagrams sent a→b", send_b, 0.02),
        ("datagrams seen by b", look_b, 0.02),
        ("datagrams sent b→a", send_a, 0.02),
        ("datagrams seen by a", look_a, 0.02),
        ("MACs of a", churn(a, frame), 0.02),
        ("MACs of b", churn(b, frame), 0.02),
        ("noise", noise(world, STRANGER, 17), 0.02),
        ("restarts", restart(other, OVERLAY, world), 8.0),
    ]
    return [Load(name, step, stopping, pause) for name, step, pause in steps]


def _learned(path: UserDatapath) -> set[str]:
    held = path.observe().learned.get(BLUE)
    return {int_to_mac(int(mac)) for mac in held.fdb["mac"]} if held else set()


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
