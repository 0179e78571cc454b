"""Offloads of a device, off for captures and on again: SIOCETHTOOL (include/uapi/linux/ethtool.h)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct

from weft.model.errors import Kind, WeftError
from weft.netlink.namespace import Namespace, socket_in

_SIOCETHTOOL = 0x8946
_GET_SET = {  # name → (ETHTOOL_G…, ETHTOOL_S…), in an order in which none depends on a later one
    "tx-checksum": (0x16, 0x17),
    "scatter-gather": (0x18, 0x19),
    "tso": (0x1E, 0x1F),
    "gso": (0x23, 0x24),
    "gro": (0x2B, 0x2C),
}


def offloads(device: str, namespace: Namespace = None) -> dict[str, bool]:
    """Which offloads are on; those that the device does not know are left out."""
    found: dict[str, bool] = {}
    with socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM) as control:
        for name, (get, _) in _GET_SET.items():
            try:
                found[name] = bool(_ethtool(control, device, get, 0))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise _failed(device, f"read {name}", error) from error
    return found


def set_offloads(device: str, on: bool, namespace: Namespace = None) -> None:
    """All that the device lets us set, on or off; off means that frames look as they would leave a NIC."""
    with socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM) as control:
        for name, (_, put) in _GET_SET.items() if on else reversed(_GET_SET.items()):
            try:
                _ethtool(control, device, put, int(on))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise _failed(device, f"set {name}", error) from error


def _ethtool(control: socket.socket, device: str, command: int, value: int) -> int:
    pair = ctypes.create_string_buffer(struct.pack("=II", command, value))  # struct ethtool_value
    fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP16x", device.encode(), ctypes.addressof(pair)))
    result: int = struct.unpack_from("=II", pair.raw)[1]
    return result


def _failed(device: str, doing: str, error: OSError) -> WeftError:
    return WeftError(Kind.FAILED, f"cannot {doing}: {(error.strerror or '').lower()}", where=device)
