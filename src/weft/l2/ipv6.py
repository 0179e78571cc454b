"""IPv6 on a port's device: where it is to have IPv6 addresses, its namespace's default for new devices does not count.

A namespace can have IPv6 off for what comes new (net.ipv6.conf.default.disable_ipv6); routers' namespaces have, so that
devices without IPv6 say nothing by it. The kernel then refuses addresses (EACCES).
"""

from __future__ import annotations

from collections.abc import Iterable

from weft.model.address import is_ipv6
from weft.netlink import sysctl
from weft.netlink.namespace import Namespace


def allow(device: str, addresses: Iterable[str], namespace: Namespace) -> None:
    """Called before the addresses are put. Raises WeftError."""
    name = f"ipv6/conf/{device}/disable_ipv6"
    if any(map(is_ipv6, addresses)) and sysctl.read(name, namespace) == "1":
        sysctl.write(name, 0, namespace)
