"""The agents of a lab's hosts, in the background: `python -m weft.lab.agents DIRECTORY PART OF`.

One process runs every OF-th node's agent, on one event loop; each works in its host's namespace through its datapath,
and answers `weft show` on a socket in the lab's directory. SIGTERM ends them and leaves the datapaths forwarding.
An agent that fails is started again after a second; the others do not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import structlog

from weft.lab import build, process
from weft.lab.state import CLUSTER, LabState, environment
from weft.model.errors import WeftError

_AGAIN = 1.0  # seconds until a failed agent is started again
log = structlog.get_logger("weft.lab")


def start(state: LabState, processes: int = 1) -> None:
    """Starts the agents in `processes` detached processes; returns at once."""
    for part in range(processes):
        with (state.directory / f"agents-{part}.log").open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "weft.lab.agents", str(state.directory), str(part), str(processes)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment(),
            )
        process.write(state.directory / f"agents-{part}.pid", child.pid)
        child.returncode = 0  # it outlives us: not ours to wait for


def stop(state: LabState) -> None:
    """Ends the lab's agents, by pid; what they built goes on forwarding."""
    files = state.agent_pids()
    process.stop([found for path in files if (found := process.read(path))])
    for path in files:
        path.unlink()


def why_dead(state: LabState) -> str:
    """The last line of a log whose process has ended, "" while all run."""
    for path in state.agent_pids():
        found = process.read(path)
        if found is None or not process.alive(found):
            lines = path.with_suffix(".log").read_text(errors="replace").strip().splitlines()
            return f"the agents' process {path.stem} has ended: {lines[-1] if lines else 'it said nothing'}"
    return ""


async def _serve(state: LabState, part: int, of: int) -> None:
    from weft.lab import fleet
    from weft.lab.grow import grow
    from weft.store import open_store
    from weft.store.mux import MuxStore
    from weft.store.records import Keys

    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    topology = state.record().topology
    build.allow_descriptors(32 * len(topology.hosts) + 64)
    nodes = [host.name for host in topology.hosts][part::of]
    store = MuxStore(open_store(state.store_url))
    tasks = [asyncio.create_task(_keep(partial(fleet.run_agent, state, store, node), node)) for node in nodes]
    if part == 0:
        tasks.append(asyncio.create_task(_keep(partial(grow, state, store, Keys(CLUSTER)), "")))
    await done.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()


async def _keep(work: Callable[[], Awaitable[None]], node: str) -> None:
    while True:
        try:
            await work()
        except WeftError as error:
            log.error("agent", node=node, error=str(error))
        except Exception:
            log.exception("agent", node=node)  # a defect must not take the other agents along
        await asyncio.sleep(_AGAIN)


def main(arguments: list[str]) -> None:
    directory = Path(arguments[0]).absolute()
    os.chdir("/")
    # also written by who started us, who may have been killed since
    process.write(directory / f"agents-{arguments[1]}.pid", os.getpid())
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(LabState(directory.name, directory), int(arguments[1]), int(arguments[2])))


if __name__ == "__main__":
    main(sys.argv[1:])
