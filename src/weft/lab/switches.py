"""An Open vSwitch for every host of a lab whose node has `datapath: ovs`, each with its files in the lab's directory.

<labs>/<name>/ovs-<node>/       database, sockets and logs
              ovs-<node>.pid    ovs-vswitchd; ovsdb-<node>.pid: its database
"""

from __future__ import annotations

from pathlib import Path

from weft.l2.ovs import process as ovs
from weft.l2.ovs import told_routes
from weft.lab import process
from weft.lab.state import LabState
from weft.lab.topology import Topology
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.model.node import DatapathKind


def directory(state: LabState, node: str) -> Path:
    """Where a host's Open vSwitch has its sockets."""
    return state.directory / f"ovs-{node}"


def environment(state: LabState, machine: str) -> dict[str, str]:
    """What makes ovs-vsctl and its like speak to the Open vSwitch of this host; nothing where it has none."""
    return ovs.environment(directory(state, machine)) if directory(state, machine).exists() else {}


def needed(intent: Intent) -> list[str]:
    """The nodes whose hosts need one."""
    return [name for name, node in intent.nodes.items() if node.datapath is DatapathKind.OVS]


def start(state: LabState, topology: Topology, intent: Intent) -> None:
    """Starts them all, inside their hosts' namespaces. Raises WeftError."""
    nodes = needed(intent)
    if nodes and (refusal := _refusal()):
        raise refusal
    for node in nodes:
        netns = topology.machine(node).netns
        place = directory(state, node)
        place.mkdir(mode=0o700)
        process.write(state.directory / f"ovsdb-{node}.pid", ovs.start_database(place, netns))
        process.write(state.directory / f"ovs-{node}.pid", ovs.start_switch(place, netns, told_routes.OPTION))


def stop(state: LabState) -> None:
    """Ends them by pid, the switches first."""
    for pattern in ("ovs-*.pid", "ovsdb-*.pid"):
        files = sorted(state.directory.glob(pattern))
        process.stop([found for path in files if (found := process.read(path))])
        for path in files:
            path.unlink()


def _refusal() -> WeftError | None:
    from weft.lab.rootless import tap_refusal

    if not ovs.installed():
        return WeftError(Kind.UNSUPPORTED, "Open vSwitch is not installed", remedy=ovs.INSTALL)
    closed = tap_refusal()
    if closed is not None:
        what = "/dev/net/tun is closed to this user, and Open vSwitch makes its own ports with it"
        return WeftError(Kind.UNSUPPORTED, what, remedy="`chmod 0666 /dev/net/tun` as root, or run the lab as root")
    return None
