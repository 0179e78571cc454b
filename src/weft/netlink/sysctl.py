"""Network sysctls inside a namespace: /proc/sys/net shows those of the thread that opens it (net/sysctl_net.c)."""

from __future__ import annotations

from pathlib import Path

from weft.model.errors import Kind, WeftError
from weft.netlink.namespace import Namespace, entered

_ROOT = Path("/proc/sys/net")


def read(name: str, namespace: Namespace = None) -> str | None:
    """`name` as a path below net, "ipv4/ip_forward"; None where the kernel has no such sysctl."""
    with entered(namespace):
        try:
            return (_ROOT / name).read_text().strip()
        except FileNotFoundError:
            return None


def write(name: str, value: str | int, namespace: Namespace = None) -> None:
    """Raises WeftError naming the sysctl."""
    with entered(namespace):
        try:
            (_ROOT / name).write_text(str(value))
        except OSError as error:
            raise WeftError(
                Kind.FAILED,
                f"cannot write {value}: {(error.strerror or '').lower()}",
                where=f"net/{name}",
                remedy=f"sysctl -w net.{name.replace('/', '.')}={value}",
            ) from error
