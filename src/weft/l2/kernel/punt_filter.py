"""Classic BPF programs for the punt's sockets (Documentation/networking/filter.rst, uapi/linux/filter.h).

A program is a list of (code, jump if true, jump if false, constant); jumps count instructions from the next one on.
"""

from __future__ import annotations

import ctypes
import socket
import struct

Program = tuple[tuple[int, int, int, int], ...]

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # BPF_LD | size | BPF_ABS
_EQUAL, _GREATER, _AT_LEAST, _SET = 0x15, 0x25, 0x35, 0x45  # BPF_JMP | … | BPF_K
_RETURN = 0x06
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF
_TAGGED = _ANCILLARY + 48  # SKF_AD_VLAN_TAG_PRESENT
_SO_ATTACH_FILTER = 26
_ALL = 0xFFFF

# ARP, and ICMPv6 of types 133 to 136 right behind the IPv6 header; no tag
ARP_AND_ND: Program = (
    (_LOAD_WORD, 0, 0, _TAGGED),
    (_EQUAL, 0, 9, 0),
    (_LOAD_HALF, 0, 0, 12),
    (_EQUAL, 6, 0, 0x0806),
    (_EQUAL, 0, 6, 0x86DD),
    (_LOAD_BYTE, 0, 0, 20),
    (_EQUAL, 0, 4, 58),
    (_LOAD_BYTE, 0, 0, 54),
    (_AT_LEAST, 0, 2, 133),
    (_GREATER, 1, 0, 136),
    (_RETURN, 0, 0, _ALL),
    (_RETURN, 0, 0, 0),
)

# Of neighbor messages those of bridges themselves: family AF_BRIDGE, without NTF_SELF
BRIDGE_ROWS: Program = (
    (_LOAD_BYTE, 0, 0, 16),
    (_EQUAL, 0, 3, 7),
    (_LOAD_BYTE, 0, 0, 26),
    (_SET, 1, 0, 0x02),
    (_RETURN, 0, 0, _ALL),
    (_RETURN, 0, 0, 0),
)


def attach(to: socket.socket, program: Program) -> None:
    """Lets a socket receive only what the program accepts, from now on. Raises OSError."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    # struct sock_fprog { u16 len; struct sock_filter *filter; }
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
