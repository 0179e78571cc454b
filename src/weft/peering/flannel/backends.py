"""Which backend a configuration asks for; imported when it is made, for each brings much along."""

from __future__ import annotations

from weft.netlink.namespace import Namespace
from weft.peering.flannel.backend import Backend, External
from weft.peering.flannel.config import NetworkConfig


def make(config: NetworkConfig, external: External, namespace: Namespace) -> Backend:
    """Raises INVALID for options that cannot be."""
    if config.backend == "vxlan":
        from weft.peering.flannel.vxlan import VxlanBackend

        return VxlanBackend(config, external, namespace)
    from weft.model.errors import Kind, WeftError

    raise WeftError(Kind.UNSUPPORTED, "the udp backend is not built yet", remedy="use the vxlan backend")
