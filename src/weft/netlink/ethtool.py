"""Offloads of a device, off for captures and on again, or off for good: SIOCETHTOOL (include/uapi/linux/ethtool.h)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from collections.abc import Collection

from weft.model.errors import Kind, WeftError
from weft.netlink.namespace import Namespace, socket_in

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSSET_INFO, _SFEATURES = 0x1B, 0x37, 0x3B
_FEATURES, _NAME = 4, 32  # ETH_SS_FEATURES; octets of a name (ETH_GSTRING_LEN)
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


def switch_off(device: str, names: Collection[str], namespace: Namespace = None) -> None:
    """Features by the names that `ethtool -k` prints; those that this kernel does not know are left out."""
    with socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            count = struct.unpack_from(
                "=I", _asked(control, device, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << 4, 0)), 16
            )[0]
            told = _asked(control, device, struct.pack("=III", _GSTRINGS, _FEATURES, count) + bytes(count * _NAME))
            known = [told[at : at + _NAME].split(b"\0")[0].decode() for at in range(12, len(told), _NAME)]
            words = [0] * -(-count // 32)
            for index, name in enumerate(known):
                words[index // 32] |= (name in names) << index % 32
            pairs = b"".join(struct.pack("=II", word, 0) for word in words)  # which are valid, and off
            _asked(control, device, struct.pack("=II", _SFEATURES, len(words)) + pairs)
        except OSError as error:
            raise _failed(device, "switch off offloads", error) from error


def _ethtool(control: socket.socket, device: str, command: int, value: int) -> int:
    pair = _asked(control, device, struct.pack("=II", command, value))  # struct ethtool_value
    result: int = struct.unpack_from("=II", pair)[1]
    return result


def _asked(control: socket.socket, device: str, request: bytes) -> bytes:
    """The request as the kernel leaves it."""
    buffer = ctypes.create_string_buffer(request, len(request))
    fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP16x", device.encode(), ctypes.addressof(buffer)))
    return buffer.raw


def _failed(device: str, doing: str, error: OSError) -> WeftError:
    return WeftError(Kind.FAILED, f"cannot {doing}: {(error.strerror or '').lower()}", where=device)
