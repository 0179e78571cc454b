"""`weft agent` as processes of its own on two hosts made of namespaces, with one port each, over one sqlite store."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tests.conftest import REPOSITORY
from tests.fleet import network, port
from tests.l2.l2_world import Underlay
from weft.agent.status import Status, read
from weft.lab.prober import Prober, probing
from weft.model.intent import Intent
from weft.model.node import Node
from weft.model.port import Attach, AttachKind
from weft.store import open_store
from weft.store.intent import update
from weft.store.records import Keys

T = TypeVar("T")
KEYS = Keys()
PATIENCE = 60.0
"""Seconds after which a test gives up; says nothing about how fast it should be."""


@dataclass
class Fleet:
    """`nodes`: their names, which are this process's alone, as agents of a host share a directory of sockets."""

    world: Underlay
    path: Path
    nodes: tuple[str, str] = (f"h1-{os.getpid()}", f"h2-{os.getpid()}")
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"sqlite://{self.path}/store/weft.db"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What is done with the store from here."""
        return asyncio.run(work)

    def prepare(self) -> None:
        for name in "ab":
            self.world.namespace(name)
        self.apply(self.intent())

    def intent(self, remote: int = 1) -> Intent:
        """Ports `a` on the first node and `b` on the second, and `remote` - 1 more behind the second, which host it."""

        def at(name: str, node: str, number: int, kind: AttachKind = AttachKind.NAMESPACE, target: str = "") -> Any:
            return port(name, "blue", node, number, attach=Attach(kind=kind, target=target))

        one, two = self.nodes
        prefix = self.world.prefix
        ports = [at("a", one, 10, target=f"{prefix}a"), at("b", two, 11, target=f"{prefix}b")]
        ports += [at(f"t{n}", two, 10 + n, AttachKind.TAP, f"tap{n}") for n in range(2, remote + 1)]
        nodes = {name: Node(name=name, vtep=vtep) for name, vtep in zip(self.nodes, self.world.vteps, strict=True)}
        return Intent(nodes, {"blue": network("blue", 5000)}, {}, {each.name: each for each in ports})

    def apply(self, intent: Intent) -> None:
        async def work() -> None:
            store = open_store(self.url)
            try:
                await update(store, KEYS, lambda stored: replace(intent))
            finally:
                await store.close()

        self.run(work())

    def command(self, host: int, *more: str, source: Path = REPOSITORY / "src", **environment: str) -> dict[str, Any]:
        """How to run `weft agent` on a host; what `subprocess` takes."""
        words = ["ip", "netns", "exec", self.world.hosts[host], sys.executable, "-m", "weft"]
        words += ["agent", "--node", self.nodes[host], "--store", self.url, "--log", "json", *more]
        return {"args": words, "env": {**os.environ, "PYTHONPATH": str(source), **environment}}

    def log(self, host: int) -> Path:
        return self.path / f"{self.nodes[host]}.log"

    def logged(self, host: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log(host).read_text().splitlines() if line.startswith("{")]

    def start(self, host: int, *, more: Sequence[str] = (), **options: Any) -> None:
        with self.log(host).open("ab") as log:
            command = self.command(host, *more, **options)
            self.agents[self.nodes[host]] = subprocess.Popen(**command, stdout=log, stderr=log)

    def end(self, host: int, number: int) -> int:
        """Sends the signal and waits for the process's end; its exit code."""
        agent = self.agents.pop(self.nodes[host])
        agent.send_signal(number)
        return agent.wait(PATIENCE)

    def stop(self) -> None:
        for agent in self.agents.values():
            agent.kill()
            agent.wait(PATIENCE)

    def status(self, host: int) -> Status | None:
        async def work() -> Status | None:
            store = open_store(self.url)
            try:
                return (await read(store, KEYS))[0].get(self.nodes[host])
            finally:
                await store.close()

        return self.run(work())

    def until(self, host: int, good: Callable[[Status], bool]) -> Status:
        """The node's report, once it is so."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if (status := self.status(host)) and good(status):
                return status
            assert time.monotonic() < deadline, f"{status}\n{self.log(host).read_text()}"
            time.sleep(0.02)

    def up(self) -> None:
        for host in (0, 1):
            self.start(host)
        for host in (0, 1):
            self.until(host, lambda status: status.in_sync and status.operations > 0)

    def forget(self, host: int) -> None:
        """Takes the node's report out of the store, so that the next one is the next agent's."""

        async def work() -> None:
            from weft.store import Delete

            store = open_store(self.url)
            try:
                await store.transact([], [Delete(f"{KEYS.status}{self.nodes[host]}")])
            finally:
                await store.close()

        self.run(work())

    def probing(self) -> Any:
        return probing(f"{self.world.prefix}a", "10.1.1.10", "10.1.1.11")


def none_lost(probe: Prober) -> bool:
    return probe.sent > 0 and probe.lost == 0
