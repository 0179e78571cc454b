"""Classic BPF on sockets: what a program does not accept never reaches the buffer.

A program is a list of (code, jump if true, jump if false, constant); jumps count instructions from the next one on.
Documentation/networking/filter.rst, uapi/linux/filter.h.
"""

from __future__ import annotations

import ctypes
import socket
import struct

Program = tuple[tuple[int, int, int, int], ...]

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30  # BPF_LD | size | BPF_ABS
EQUAL, GREATER, AT_LEAST, SET = 0x15, 0x25, 0x35, 0x45  # BPF_JMP | … | BPF_K
RETURN = 0x06
ALL = 0xFFFF
_SO_ATTACH_FILTER = 26


def attach(to: socket.socket, program: Program) -> None:
    """Lets a socket receive only what the program accepts, from now on. Raises OSError."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    # struct sock_fprog { u16 len; struct sock_filter *filter; }
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
