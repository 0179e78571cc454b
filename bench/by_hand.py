"""A lab of Weft's, and beside it the same made by hand with `ip`, on hosts of its own, so that neither pays for the
other: nftables hooks and packet sockets of an agent concern all that its host forwards.

The lab file has four hosts: h1 and h2 are Weft's, h3 and h4 have nothing but what is made by hand.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from bench import crossing, traffic
from bench.traffic import End
from weft.lab import lab
from weft.model.file import parse

NODES = """
nodes:
  h1: {vtep: 192.168.33.1}
  h2: {vtep: 192.168.33.2}
  h3: {vtep: 192.168.33.3}
  h4: {vtep: 192.168.33.4}
"""
Commands = Callable[[int, dict[str, str]], str]


@contextmanager
def beside(name: str, file: str, commands: Commands) -> Iterator[None]:
    """The lab `file` (after NODES), and on each of the two other hosts what `commands` says, line by line.

    `commands` is told 1 or 2, and {h}: the host's namespace, {c}: its container's, which is to be made, {vtep}, {peer}.
    """
    lab.up(parse({f"{name}.yaml": NODES + file}), name)
    made: list[str] = []
    try:
        for number, own, peer in ((1, 3, 4), (2, 4, 3)):
            container = hand(name, number)
            made.append(container)
            values = {"h": f"weft-{name}-h{own}", "c": container}
            values |= {"vtep": f"192.168.33.{own}", "peer": f"192.168.33.{peer}"}
            for words in filter(None, map(str.split, commands(number, values).splitlines())):
                subprocess.run(words, check=True)
        yield
    finally:
        for container in made:
            subprocess.run(["ip", "netns", "delete", container], check=False)
        lab.down(name)


def compared(
    title: str, name: str, file: str, commands: Commands, ends: Mapping[str, End], count: int
) -> Iterator[str]:
    """What contenders, one of them "by hand", come to in so many interleaved rounds, in Markdown."""
    with beside(name, file, commands):
        figures, costs = traffic.rounds(ends, count), crossing.costs(ends)
    yield f"### {title}, {count} interleaved rounds of {traffic.SECONDS} s"
    yield from traffic.table(figures, costs, "by hand")


def hand(name: str, number: int) -> str:
    """The namespace of a container that was made by hand."""
    return f"weft-{name}-hand{number}"
