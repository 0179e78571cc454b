"""A running agent on the real kernel: what others do to our objects is put back and told, and then there is quiet."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.agent.life_world import BLUE, KEYS, PATIENCE, Host, declared, running
from tests.fleet import network, port
from tests.l2.l2_world import Underlay, ip
from tests.l2.test_kernel_drift import TAMPERING as BY_NAME
from weft.agent.fight import FREE
from weft.compile.node import compile_node
from weft.l2.datapath import Event
from weft.l2.kernel.echo import Echo
from weft.l2.kernel.events import LOST
from weft.plan.diff import diff
from weft.store.intent import update

pytestmark = pytest.mark.system

B1 = "02:00:00:00:00:0b"
HERE = [
    *(command for name, (command, _) in BY_NAME.items() if name not in ("neighbor deleted", "router advertisements")),
    "ip neigh del 10.1.1.11 dev wb5000",
    f"ip neigh replace 10.1.1.11 lladdr {B1} dev wb5000 nud reachable",
    "ip neigh flush dev wb5000 nud permanent",
    "bridge fdb flush dev wx5000",
    f"bridge fdb replace {B1} dev wp-a master static",
    "nft flush ruleset",
    "ip link set wx5000 name other",
    "ip link set wp-a name other2",
    "ip link set wp-a type bridge_slave isolated on",
]
INSIDE = [
    "ip link set eth0 address 02:00:00:00:00:77",
    "ip addr del 10.1.1.10/24 dev eth0",
    "ip addr add 10.1.1.77/24 dev eth0",
    "ip link set eth0 mtu 1300",
    "ip link set eth0 down",
    "ip link del eth0",
]


def tamper(world: Underlay, inside: bool, command: str) -> None:
    ip(f"{world.prefix}a" if inside else world.hosts[0], *command.split())


async def mended(host: Host, inside: bool, command: str) -> None:
    """Does it, and waits until it is undone and told."""
    host.clock.more += 1000  # no fight: as if long ago
    before = host.agent.status.drift
    tamper(host.world, inside, command)
    await host.until(lambda: host.agent.status.drift > before and host.agent.status.in_sync, command)
    await host.until(lambda: not host.left(), command)


def test_all_that_is_changed_comes_back_by_notification(underlay: Underlay) -> None:
    """The resync is a minute away: it is the kernel's word that wakes the agent."""

    async def main() -> None:
        async with running(underlay, declared(underlay)) as host:
            for command in HERE:
                await mended(host, False, command)
            for command in INSIDE:
                await mended(host, True, command)
            assert host.agent.status.drift >= len(HERE) + len(INSIDE)
            assert host.left() == []

    asyncio.run(main())


def test_an_idle_agent_does_nothing_and_rows_make_no_echo(underlay: Underlay) -> None:
    """Observations are counted: none after rows alone were applied, none while nobody touches anything."""

    async def main() -> None:
        async with running(underlay, declared(underlay)) as host:
            before = await host.quiet()
            done = host.agent.status.operations
            for remote in (2, 60, 1):
                await update(host.store, KEYS, lambda stored, n=remote: declared(underlay, n))
                await host.until(lambda d=done: host.agent.status.operations > d)
                done = host.agent.status.operations
            assert await host.quiet() == before
            assert not host.left()
            assert host.agent.status.drift == 0

    asyncio.run(main())


def test_what_others_write_while_we_write_is_seen(underlay: Underlay) -> None:
    async def main() -> None:
        async with running(underlay, declared(underlay)) as host:
            await host.quiet()
            apply = host.datapath._apply

            def meddled(operations: Sequence[object]) -> object:
                done = apply(operations)  # type: ignore[arg-type]
                host.datapath._apply = apply  # type: ignore[method-assign]
                tamper(underlay, False, f"bridge fdb del {B1} dev wx5000 self master")
                return done

            host.datapath._apply = meddled  # type: ignore[method-assign,assignment]
            await update(host.store, KEYS, lambda stored: declared(underlay, 2))
            await host.until(lambda: host.agent.status.drift == 1)
            assert not host.left()

    asyncio.run(main())


def test_a_row_that_others_touch_costs_a_look_at_its_segment(underlay: Underlay) -> None:
    async def test() -> None:
        intent = declared(underlay)
        more = [port("c", "red", "h1", 30), port("d", "red", "h2", 31)]
        networks = intent.networks | {"red": network("red", 6000)}
        whole = replace(intent, networks=networks, ports=intent.ports | {each.name: each for each in more})
        underlay.namespace("c")
        async with running(underlay, whole) as host:
            looked = await host.quiet()
            for command in (
                f"bridge fdb del {B1} dev wx5000 self master",
                "bridge fdb add 02:00:00:00:00:99 dev wx5000 dst 192.168.33.99 self master static",
                "ip neigh del 10.1.1.11 dev wb5000",
            ):
                await mended(host, inside=False, command=command)
            assert await host.quiet() == looked
            drift = host.agent.status.drift
            ip(underlay.hosts[0], *f"bridge fdb del {B1} dev wx5000 self master".split())
            ip(underlay.hosts[0], *["ip", "link", "set", "wx6000", "down"])  # told of in the same go
            await host.until(lambda: host.agent.status.drift == drift + 2 and host.agent.status.in_sync)
            await host.until(lambda: not host.left())
            assert await host.quiet() > looked

    asyncio.run(test())


def test_lost_notifications_are_made_good(underlay: Underlay) -> None:
    """More of them than the buffer holds, while this loop keeps the agent from reading."""

    async def main() -> None:
        async with running(underlay, declared(underlay)) as host:
            await host.quiet()
            events = host.datapath._events
            events._route.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            read, seen = events.read, list[list[Event]]()

            def watched(echo: Echo = frozenset()) -> list[Event]:
                found = read(echo)
                seen.extend([found] if found else [])
                return found

            events.read = watched  # type: ignore[method-assign]
            for number in range(40):
                tamper(underlay, False, f"ip link set eth1 alias noise{number}")
            tamper(underlay, False, "ip link set wx5000 mtu 1300")
            await host.until(lambda: host.agent.status.drift == 1 and not host.left())
            assert LOST in seen[0]
            assert BLUE not in {event.segment for event in seen[0]}, "the one that mattered was among the lost"

    asyncio.run(main())


def test_what_nobody_told_of_is_found_by_the_resync(underlay: Underlay) -> None:
    async def main() -> None:
        async with running(underlay, declared(underlay)) as host:
            await host.quiet()
            host.datapath._events.read = lambda echo=frozenset(): []  # type: ignore[method-assign]
            tamper(underlay, False, "ip link del wx5000")
            host.agent.pace.resync = 0.2
            host.agent._wake.set()
            await host.until(lambda: host.agent.status.drift > 0 and not host.left())
            assert "wx5000" in {link.name for link in underlay.links(0).dump()}

    asyncio.run(main())


def test_an_agent_that_always_has_something_to_do_looks_too(underlay: Underlay) -> None:
    async def main() -> None:
        intent = declared(underlay)
        async with running(underlay, intent) as host:
            await host.quiet()
            host.datapath._events.read = lambda echo=frozenset(): []  # type: ignore[method-assign]
            tamper(underlay, False, "ip link set wx5000 mtu 1300")
            host.agent.pace.resync = 0.2
            number, deadline = 0, time.monotonic() + PATIENCE
            while not host.agent.status.drift:
                assert time.monotonic() < deadline
                number += 1
                more = port("more", "blue", "h2", 20 + number % 2)
                await update(
                    host.store, KEYS, lambda _, more=more: replace(intent, ports=intent.ports | {"more": more})
                )
                await asyncio.sleep(0.02)
            await host.until(lambda: not host.left())

    asyncio.run(main())


def test_a_fight_is_told_and_slowed_down_and_nobody_else_waits(underlay: Underlay) -> None:
    async def main() -> None:
        async with running(underlay, declared(underlay, 2)) as host:
            mac = "02:00:00:00:00:0c"
            host.clock.stop()  # a repair that waits would not wait for a slow machine
            for number in range(1, FREE + 2):
                tamper(underlay, False, f"bridge fdb del {mac} dev wx5000 self master")
                await host.until(lambda n=number: host.agent.status.drift == n)
            tamper(underlay, False, f"bridge fdb del {mac} dev wx5000 self master")
            await host.until(lambda: not host.agent.status.in_sync)
            assert f"fdb 5000 {mac} was changed by another program" in host.agent.status.errors[0]
            assert host.left() == [f"+ fdb 5000: {mac} → 192.168.33.13"]
            tamper(underlay, False, "ip link set wx5000 down")
            await host.until(lambda: not any("wx5000 is down" in operation for operation in host.left()))
            host.clock.go_on()
            await host.until(lambda: host.agent.status.in_sync)
            assert "was changed by another program" in host.agent.status.notes[0]
            assert not host.left()

    asyncio.run(main())


def test_a_deleted_bridge_does_not_wait_for_a_fight_over_its_mtu(underlay: Underlay) -> None:
    async def main() -> None:
        async with running(underlay, declared(underlay)) as host:
            for number in range(1, FREE + 2):
                tamper(underlay, False, "ip link set wx5000 mtu 1300")
                await host.until(lambda n=number: host.agent.status.drift == n)
            fights = host.agent.drift._fights
            fights._runs["segment 5000: wx5000 has mtu"].pause = 3 * PATIENCE
            tamper(underlay, False, "ip link set wx5000 mtu 1300")
            await host.until(lambda: not host.agent.status.in_sync)
            assert "segment 5000 (wx5000 has mtu) was changed by another program" in host.agent.status.errors[0]
            tamper(underlay, False, "ip link del wb5000")
            await host.until(lambda: not host.left())

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_random_tampering_ends_in_the_plan_and_incremental_is_full(underlay: Underlay, seed: int) -> None:
    """Several things at once, intent changing meanwhile: what stands in the end is the plan, found either way."""
    dice = random.Random(seed)

    async def main() -> None:
        async with running(underlay, declared(underlay)) as host:
            for _ in range(8):
                host.clock.more += 1000
                remote = dice.randrange(1, 9)
                await update(host.store, KEYS, lambda stored, n=remote: declared(underlay, n))
                for _ in range(dice.randrange(1, 6)):
                    inside = dice.random() < 0.25
                    with contextlib.suppress(subprocess.CalledProcessError):  # what it names may be gone already
                        tamper(underlay, inside, dice.choice(INSIDE if inside else HERE))
                await host.until(lambda n=remote: len(host.agent.plan.tables[BLUE].fdb) == n)
                await host.until(lambda: host.agent.status.in_sync and not host.left())
            assert host.agent.plan == compile_node(host.agent.feed.world, "h1"), "incremental = full"
            assert diff(host.agent.plan, host.datapath.observe()) == []

    asyncio.run(main())
