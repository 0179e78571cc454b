"""The datapath of a node, by its kind; each is imported only where it is used."""

from __future__ import annotations

from collections.abc import Callable

from weft.l2.datapath import Datapath
from weft.model.node import DatapathKind


def _same(name: str) -> str:
    return name


def open_datapath(
    kind: DatapathKind,
    cluster: str,
    namespace: str | None = None,
    ports: Callable[[str], str] = _same,
    workers: int | None = None,
) -> Datapath:
    """`namespace`: the host's, None for the process's own; `ports`: what a port's namespace is called here; `workers`:
    forwarding processes of the user datapath."""
    match kind:
        case DatapathKind.KERNEL:
            from weft.l2.kernel.datapath import KernelDatapath

            return KernelDatapath(cluster, namespace, ports)
        case DatapathKind.USER:
            from weft.l2.user.datapath import UserDatapath

            return UserDatapath(cluster, namespace, ports, workers)
        case DatapathKind.OVS:
            from weft.l2.ovs.datapath import OvsDatapath

            return OvsDatapath(cluster, namespace, ports)
