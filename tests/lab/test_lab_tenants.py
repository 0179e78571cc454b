"""Random fleets on this kernel: every end point asks every address, and is heard by whom the intent says alone.

Tenants use the same addresses and MACs, so who heard a question says it in the answer. All ask at once, over UDP.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator

import pytest

from tests.tenants import meant, overlapping, topology
from weft.lab import lab
from weft.model.file import Document
from weft.model.intent import Intent
from weft.model.lab import LabSpec
from weft.model.validate import problems
from weft.netlink.namespace import socket_in

pytestmark = pytest.mark.system

SEEDS = (1, 9, 30, 40, 41, 54)  # every kind of router, every ARP mode, both ways of learning, up to five nodes
PORT = 4000
PATIENCE = 60.0  # seconds until everybody who may be reached must have been
SILENCE = 0.5  # seconds more, in which nobody else may be

Reached = tuple[str, str, str]  # who asked, which address, who heard it


@contextlib.contextmanager
def sockets(name: str, intent: Intent) -> Iterator[dict[socket.socket, str]]:
    """One of each family behind each port."""
    names = lab.names_of(name)
    with contextlib.ExitStack() as open_ones:
        found: dict[socket.socket, str] = {}
        for port in intent.ports.values():
            for family in {socket.AF_INET6 if ":" in ip else socket.AF_INET for ip in port.ips}:
                made = open_ones.enter_context(socket_in(names.netns(port.name), family, socket.SOCK_DGRAM))
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                made.setblocking(False)
                made.bind(("", PORT))
                found[made] = port.name
        yield found


class Questions:
    """`heard`: who heard which question; `answered`: those of which the answer came back."""

    def __init__(self, ends: dict[socket.socket, str], intent: Intent) -> None:
        self.ends = ends
        self.addresses = sorted({ip for port in intent.ports.values() for ip in port.ips})
        self.heard: set[Reached] = set()
        self.answered: set[Reached] = set()

    def ask(self) -> None:
        """Everybody asks whatever has not answered yet."""
        done = {(asker, ip) for asker, ip, _ in self.answered}
        for end, name in self.ends.items():
            for ip in self.addresses:
                if (":" in ip) == (end.family == socket.AF_INET6) and (name, ip) not in done:
                    with contextlib.suppress(OSError):  # no route leads there
                        end.sendto(f"ask {name} {ip}".encode(), (ip, PORT))

    def listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for end in select.select(list(self.ends), [], [], left)[0]:
                self._take(end)

    def _take(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                words, sender = end.recvfrom(200)
                kind, asker, ip, *who = words.decode().split()
                if kind == "ask":
                    self.heard.add((asker, ip, self.ends[end]))
                    end.sendto(f"answer {asker} {ip} {self.ends[end]}".encode(), sender)
                else:
                    assert asker == self.ends[end], "an answer went astray"
                    self.answered.add((asker, ip, who[0]))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_end_point_reaches_exactly_what_the_intent_says(name: str, seed: int) -> None:
    intent = overlapping(topology(seed))
    assert problems(intent) == []
    wanted = {
        (a.name, ip, b.name)
        for a in intent.ports.values()
        for b in intent.ports.values()
        for ip in b.ips
        if meant(intent, a, b, ip)
    }
    lab.up(Document(intent, LabSpec(name=name)), name)
    with sockets(name, intent) as ends:
        questions = Questions(ends, intent)
        deadline = time.monotonic() + PATIENCE
        while not wanted <= questions.answered and time.monotonic() < deadline:
            questions.ask()
            questions.listen(SILENCE)
        questions.listen(SILENCE)
    assert questions.heard == wanted
    assert questions.answered == wanted
