"""Runs commands inside a machine of a lab, as `ip netns exec` does: its network, and a /sys that shows it.

A machine's name is a host's, a router's, an external host's, a port's, a container's (`container`, or `host/container`
where several hosts have one of that name).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

from weft.lab import unshare
from weft.lab.names import Names
from weft.lab.topology import Machine, container_name
from weft.model.errors import Kind, WeftError
from weft.netlink import namespace
from weft.plan.router import namespace_of


def find(names: Names, name: str) -> Machine:
    """The machine meant; raises NOT_FOUND, naming those there are, or USAGE where it could be several."""
    topology = names.topology
    host, slash, container = name.partition("/")
    wanted = container_name(host, container) if slash else name
    if host in names.intent.nodes and container in names.intent.routers:
        return topology.machine(container_name(host, namespace_of(container)))
    if name in names.intent.ports:
        return topology.machine(names.machine_of_port(name))
    if any(machine.name == wanted for machine in topology.machines):
        return topology.machine(wanted)
    found = [m for m in topology.machines if m.kind == "container" and m.name.partition(".")[2] == name]
    if len(found) > 1:
        raise WeftError(
            Kind.USAGE,
            f"'{name}' is a container of several hosts",
            remedy="say which: " + ", ".join(machine.name.replace(".", "/", 1) for machine in found),
        )
    return found[0] if found else topology.machine(name)


def call(netns: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
    """Runs a command with our input and output; returns its exit code, 128 + n where signal n ended it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the command to handle, not for us
    try:
        # between fork and exec only system calls happen, so threads of ours do no harm
        child = subprocess.Popen(list(argv), preexec_fn=_into(netns, before), env=_environment(env))  # noqa: PLW1509
        code = child.wait()
    except (FileNotFoundError, PermissionError) as error:
        raise WeftError(Kind.NOT_FOUND, f"cannot run '{argv[0]}': {error.strerror}", where=netns) from None
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code


def run(
    netns: str, argv: Sequence[str], timeout: float = 60.0, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Runs a command without input; returns (exit code, what it printed). It is killed after `timeout` seconds."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_into(netns, signal.SIG_DFL),
            timeout=timeout,
            env=_environment(env),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, f"did not end within {timeout:g} s"
    except (FileNotFoundError, PermissionError) as error:
        return 127, f"cannot run '{argv[0]}': {error.strerror}"
    return done.returncode, done.stdout.decode(errors="replace").strip()


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    return os.environ | (more or {})


def _into(netns: str, interrupt: object) -> Callable[[], None]:
    """For the child, before it executes the command."""
    path = namespace.path(netns)
    namespace.required(netns)

    def enter() -> None:
        fd = os.open(path, os.O_RDONLY)
        unshare.setns(fd, unshare.CLONE_NEWNET)
        os.close(fd)
        unshare.unshare(unshare.CLONE_NEWNS)
        unshare.mount("none", "/", "none", unshare.MS_REC | unshare.MS_SLAVE)
        try:  # /sys/class/net shows the namespace it was mounted from
            unshare.umount("/sys")
            unshare.mount("sysfs", "/sys", "sysfs")
        except OSError:  # not allowed in every user namespace; little needs it
            pass
        signal.signal(signal.SIGINT, interrupt)  # type: ignore[arg-type]

    return enter
