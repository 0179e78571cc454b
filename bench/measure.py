"""How benchmarks measure: peers in turn (A B A B …), so both meet the same machine; medians; CPU beside wall time."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Taken:
    """Medians in seconds; `cpu` is user and system time of this process and its finished children."""

    wall: float
    cpu: float


def interleaved(peers: Mapping[str, Work], rounds: int, before: Work = lambda: None) -> dict[str, Taken]:
    """Runs every peer once a round; `before` (untimed) makes the state that each starts from."""
    walls: dict[str, list[float]] = {name: [] for name in peers}
    cpus: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, work in peers.items():
            before()
            cpu, wall = _cpu(), time.perf_counter()
            work()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(_cpu() - cpu)
    return {name: Taken(statistics.median(walls[name]), statistics.median(cpus[name])) for name in peers}


def _cpu() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def table(taken: Mapping[str, Taken], peer: str, count: int = 0, unit: str = "rows") -> list[str]:
    """Markdown rows: name, seconds, CPU seconds, rate, and the ratio of wall times to `peer`."""
    rows = [f"| | wall s | CPU s | {unit}/s | wall / {peer} |", "|---|---|---|---|---|"]
    for name, of in taken.items():
        rate = f"{count / of.wall:,.0f}" if count else "–"
        rows.append(f"| {name} | {of.wall:.3f} | {of.cpu:.3f} | {rate} | {of.wall / taken[peer].wall:.2f} |")
    return rows


def machine() -> str:
    """What was measured on, for the page of figures."""
    cores = os.cpu_count()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")
    iproute = subprocess.run(["ip", "-V"], check=True, capture_output=True, text=True).stdout.strip()
    return f"{cores} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}, {iproute}"
