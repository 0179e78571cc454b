"""Lab up and down at 3, 30 and 100 hosts: Weft (overlay, agents in sync) / Mininet's plain hosts.

    python -m bench lab [HOSTS…]

A Weft lab has one container and one segment on each host, agents running and in sync; Mininet has hosts on one bridge
and no overlay. Both are whole processes, from the command line to its end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.measure import interleaved, table

ROUNDS = 3
MININET = """
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import SingleSwitchTopo
net = Mininet(topo=SingleSwitchTopo(%d), switch=LinuxBridge, controller=None)
net.start()
net.stop()
"""


def run(*arguments: str) -> Iterator[str]:
    for count in map(int, arguments or ("3", "30", "100")):
        yield f"### Lab of {count} hosts, up and down"
        yield from _lab(count)


def _lab(count: int) -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "bench-lab.yaml")
        file.write_text(_text(count))
        weft = str(Path(sys.executable).parent / "weft")
        peers = {
            "Weft: overlay, agents in sync": lambda: _up_and_down(weft, str(file)),
        }
        if shutil.which("mn"):
            code = ["/usr/bin/python3", "-c", MININET % count]
            peers["Mininet: plain hosts"] = lambda: subprocess.run(code, check=True, capture_output=True)
        taken = interleaved(peers, ROUNDS)
    peer = "Mininet: plain hosts" if "Mininet: plain hosts" in taken else next(iter(taken))
    return table(taken, peer, count, "hosts")


def _up_and_down(weft: str, file: str) -> None:
    subprocess.run([weft, "lab", "up", file], check=True, capture_output=True)
    subprocess.run([weft, "lab", "down", "bench-lab"], check=True, capture_output=True)


def _text(count: int) -> str:
    lines = ["nodes:"]
    lines += [f"  h{i}: {{vtep: 192.168.{i // 200}.{1 + i % 200}}}" for i in range(count)]
    lines += ["networks:", "  blue: {vni: 5000, subnet: 10.0.0.0/16}", "ports:"]
    lines += [f"  c{i}: {{network: blue, node: h{i}}}" for i in range(count)]
    lines += ["lab: {underlay: {segments: {flat: 192.168.0.0/16}}}"]
    return "\n".join(lines) + "\n"
