"""What goes over a network between two namespaces: one TCP stream, and small UDP packets; contenders take turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SECONDS = 2
End = tuple[str, str, str]  # the client's namespace, the server's, the server's address


@dataclass(frozen=True, slots=True)
class Figure:
    """Of one contender in one round. CPU is the whole machine's, so it counts whatever else runs."""

    gigabits: float
    cpu_per_gigabyte: float
    packets: float  # of 64 octets, a second


def rounds(ends: Mapping[str, End], count: int) -> dict[str, list[Figure]]:
    """Every contender once a round, every other round from the last to the first."""
    figures: dict[str, list[Figure]] = {name: [] for name in ends}
    for number in range(count):
        for name in reversed(list(ends)) if number % 2 else ends:
            figures[name].append(_figure(*ends[name]))
    return figures


def table(figures: Mapping[str, list[Figure]], costs: Mapping[str, list[float]], peer: str) -> Iterator[str]:
    """Medians, in Markdown; ratios are medians of pairs of a round, with quartiles. `costs`: of bench.crossing."""
    yield (
        f"| | Gbit/s of one TCP stream | / {peer} | CPU s/GB | 64-octet UDP packets/s | / {peer} "
        f"| CPU µs a packet | {peer} / it |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    other, median = figures[peer], statistics.median
    for name, of in figures.items():
        streams = _spread([a.gigabits / b.gigabits for a, b in zip(of, other, strict=True)])
        packets = _spread([a.packets / b.packets for a, b in zip(of, other, strict=True)])
        yield (
            f"| {name} | {median(each.gigabits for each in of):.2f} | {streams} "
            f"| {median(each.cpu_per_gigabyte for each in of):.2f} "
            f"| {median(each.packets for each in of):,.0f} | {packets} "
            f"| {median(costs[name]):.1f} | {median(costs[peer]) / median(costs[name]):.3f} |"
        )


def _spread(ratios: list[float]) -> str:
    """The median, and between which two half of them are."""
    if len(ratios) < 2:
        return f"{ratios[0]:.3f}"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.3f} ({low:.2f} to {high:.2f})"


def _figure(client: str, server: str, address: str) -> Figure:
    before = busy()
    stream = _iperf(client, server, address)["end"]["sum_received"]
    cpu = busy() - before
    udp = _iperf(client, server, address, "-u", "-b", "0", "-l", "64")["end"]["sum"]
    arrived = udp["packets"] * (1 - udp["lost_percent"] / 100)
    return Figure(stream["bits_per_second"] / 1e9, cpu / (stream["bytes"] / 1e9), arrived / udp["seconds"])


def _iperf(client: str, server: str, address: str, *more: str) -> dict[str, dict[str, dict[str, float]]]:
    inside = ["ip", "netns", "exec"]
    serving = subprocess.Popen(
        [*inside, server, "iperf3", "-s", "-1", "--forceflush"], stdout=subprocess.PIPE, text=True
    )
    assert serving.stdout
    while "listening" not in serving.stdout.readline():
        pass
    command = [*inside, client, "iperf3", "-c", address, "-t", str(SECONDS), "-J", *more]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS + 20)
    serving.wait(timeout=10)
    found: dict[str, dict[str, dict[str, float]]] = json.loads(done.stdout)
    return found


def busy() -> float:
    """Seconds that the machine's CPUs have been busy, of every kind but idle and I/O wait."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
