"""Which backend a configuration asks for; imported when it is made, for each brings much along."""

from __future__ import annotations

from weft.peering.flannel.backend import Backend, External
from weft.peering.flannel.config import MAX_VNI, VNI, NetworkConfig


def make(config: NetworkConfig, external: External, namespace: str | None) -> Backend:
    """Raises INVALID for options that cannot be."""
    if config.backend == "vxlan":
        from weft.peering.flannel.vxlan import VxlanBackend

        return VxlanBackend(config, external, namespace)
    from weft.peering.flannel.udp import UdpBackend

    return UdpBackend(config, external, namespace)


def device(config: NetworkConfig) -> str:
    """The device that stands for the whole backend: two daemons of one host cannot share it."""
    return f"flannel.{config.number('VNI', VNI, MAX_VNI)}" if config.backend == "vxlan" else "flannel0"
