"""The subnet file, /run/flannel/subnet.env: what this node was given, for the programs that start containers.

    FLANNEL_NETWORK=10.5.0.0/16
    FLANNEL_SUBNET=10.5.60.1/24             the first address of the subnet, which the containers' bridge takes
    FLANNEL_IPV6_NETWORK, FLANNEL_IPV6_SUBNET where IPv6 is enabled
    FLANNEL_MTU=1450
    FLANNEL_IPMASQ=true

Read at start, it says which subnet to ask for again. Beside it stands <file>.lease, of our own: the id of the etcd
lease that our key hung on, by which we know it again even where the host has another address now. Files are replaced
whole.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TypeVar

from weft.model.errors import Kind, WeftError
from weft.peering.flannel.config import NetworkConfig
from weft.peering.flannel.lease import Lease

T = TypeVar("T", IPv4Network, IPv6Network)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the files say; None and 0 where they say nothing that can be used."""

    subnet: IPv4Network | None = None
    subnet6: IPv6Network | None = None
    etcd_lease: int = 0


def text(config: NetworkConfig, own: Lease, mtu: int, masquerade: bool) -> str:
    """The file's text; `mtu` in octets."""
    lines = []
    for prefix, pool, subnet in (("", config.four, own.subnet), ("IPV6_", config.six, own.subnet6)):
        if pool is not None and subnet is not None:
            lines.append(f"FLANNEL_{prefix}NETWORK={pool.network}")
            lines.append(f"FLANNEL_{prefix}SUBNET={subnet.network_address + 1}/{subnet.prefixlen}")
    lines += [f"FLANNEL_MTU={mtu}", f"FLANNEL_IPMASQ={str(masquerade).lower()}"]
    return "\n".join(lines) + "\n"


def read(file: Path) -> Remembered:
    """Whatever is there and makes sense; a file that is missing or broken says nothing."""
    values = {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in file.read_text().splitlines():
            name, equals, value = line.strip().removeprefix("export ").partition("=")
            if equals and not name.startswith("#"):
                values[name.strip()] = _bare(value)
    lease = 0
    with contextlib.suppress(OSError, ValueError):
        lease = int(_beside(file).read_text(), 16)
    return Remembered(
        _network(values.get("FLANNEL_SUBNET"), IPv4Network), _network(values.get("FLANNEL_IPV6_SUBNET"), IPv6Network),
        lease if 0 < lease < 1 << 63 else 0,
    )  # fmt: skip


def write(file: Path, told: str, etcd_lease: int) -> bool:
    """Whether anything was changed. Raises FAILED where a file cannot be written."""
    changed = False
    try:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        for path, content in ((_beside(file), f"{etcd_lease:x}\n"), (file, told)):
            changed |= replace(path, content)
    except OSError as error:
        remedy = "make its directory writable, or give -subnet-file another"
        raise unwritable(file, error, remedy) from None
    return changed


def replace(path: Path, content: str) -> bool:
    """Replaces a file as a whole, where it says otherwise; whether it did. Raises OSError."""
    if path.is_file() and path.read_bytes() == content.encode():
        return False
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(content)
    part.chmod(0o644)
    part.replace(path)
    return True


def unwritable(file: Path, error: OSError, remedy: str) -> WeftError:
    what = f"cannot write it: {(error.strerror or str(error)).lower()}"
    return WeftError(Kind.FAILED, what, where=f"subnet file {file}", remedy=remedy)


def forget(file: Path) -> None:
    """The lease was given back: its id is nobody's. The subnet is still asked for again."""
    with contextlib.suppress(OSError):
        _beside(file).unlink(missing_ok=True)


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.lease")


def _bare(value: str) -> str:
    try:
        return "".join(shlex.split(value, comments=True)[:1])
    except ValueError:
        return ""


def _network(value: str | None, kind: type[T]) -> T | None:
    try:
        return kind(value, strict=False) if value and "/" in value else None
    except ValueError:
        return None
