"""What one small packet costs on its way between two namespaces, in CPU time.

The sender's own thread does all of it, up to the receiver's socket, since what crosses veth pairs is handed on in the
sender's context; nobody reads there. So the thread's CPU time, which is not wall time, says the whole way's cost, on a
machine that does other work, too: medians of many short turns agree within a hundredth where streams differ by a third.
The system call and Python's share of it are in it, about a microsecond.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack

from bench.traffic import End
from weft.netlink.namespace import socket_in

TURNS, PACKETS = 1500, 100
_PORT, _TEXT = 9999, bytes(64)


def costs(ends: Mapping[str, End], turns: int = TURNS) -> dict[str, list[float]]:
    """Microseconds of CPU a packet, of each turn, contenders in turn."""
    found: dict[str, list[float]] = {name: [] for name in ends}
    with ExitStack() as open_sockets:
        senders = {name: open_sockets.enter_context(_sender(open_sockets, end)) for name, end in ends.items()}
        for number in range(turns):
            for name in senders if number % 2 else reversed(senders):
                found[name].append(_turn(senders[name]))
    return found


def _sender(stack: ExitStack, end: End) -> socket.socket:
    """The sender's socket, after one packet there and back: a bridge floods to all its ports for a MAC unheard."""
    client, server, address = end
    heard = stack.enter_context(socket_in(server, socket.AF_INET, socket.SOCK_DGRAM))
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    heard.bind(("", _PORT))
    sender = socket_in(client, socket.AF_INET, socket.SOCK_DGRAM)
    for each in (sender, heard):
        each.settimeout(20)
    sender.connect((address, _PORT))
    sender.send(_TEXT)
    heard.sendto(*heard.recvfrom(len(_TEXT)))
    sender.recv(len(_TEXT))
    return sender


def _turn(sender: socket.socket) -> float:
    send = sender.send
    for _ in range(PACKETS // 5):  # caches
        send(_TEXT)
    began = time.thread_time_ns()
    for _ in range(PACKETS):
        send(_TEXT)
    return (time.thread_time_ns() - began) / PACKETS / 1000
