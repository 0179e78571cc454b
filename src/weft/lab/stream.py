"""A stream of echo requests at a steady pace, whatever becomes of them: how many answers a change costs.

Unlike weft.lab.ping it waits for no answer before the next request. RFC 792, RFC 4443.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable

from weft.lab.ping import Pinged
from weft.model.address import is_ipv6
from weft.model.errors import Kind, WeftError
from weft.netlink.namespace import socket_in
from weft.wire import icmp, icmpv6
from weft.wire.checksum import PseudoHeader

_LINGER = 5.0  # seconds to wait for the last answers


def stream(
    where: str,
    source: str,
    target: str,
    *,
    count: int,
    interval: float,
    meanwhile: Callable[[], None] | None = None,
) -> Pinged:
    """`count` requests, one each `interval` seconds; `meanwhile` runs beside them after a quarter. Raises WeftError."""
    family = socket.AF_INET6 if is_ipv6(target) else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    ident = int.from_bytes(os.urandom(2), "big")
    failed: list[BaseException] = []
    beside = threading.Thread(target=_guarded, args=(meanwhile, failed), daemon=True) if meanwhile else None
    answers: dict[int, tuple[int, float]] = {}
    with socket_in(where, family, socket.SOCK_RAW, protocol) as raw:
        raw.setblocking(False)
        try:
            raw.bind((source, 0))
            raw.connect((target, 0))
        except OSError as error:
            raise WeftError(Kind.FAILED, f"cannot send from {source}: {error.strerror}", where=where) from None
        sent: list[float] = []
        begun = time.monotonic()
        while len(sent) < count:
            if beside and not beside.ident and len(sent) >= count // 4:
                beside.start()
            _send(raw, family, source, target, ident, len(sent) + 1)
            sent.append(time.monotonic())
            _take(raw, ident, sent, answers, begun + len(sent) * interval)
        _take(raw, ident, sent, answers, time.monotonic() + _LINGER, enough=count)
    if beside:
        beside.join()
    if failed:
        raise WeftError(Kind.FAILED, f"what was to happen meanwhile failed: {failed[0]}", where=where) from failed[0]
    got = [answers[number] for number in sorted(answers)]
    return Pinged(count, tuple(ttl for ttl, _ in got), tuple(rtt for _, rtt in got))


def _guarded(work: Callable[[], None], failed: list[BaseException]) -> None:
    try:
        work()
    except (WeftError, OSError) as error:
        failed.append(error)


def _send(raw: socket.socket, family: int, source: str, target: str, ident: int, sequence: int) -> None:
    if family == socket.AF_INET:
        request = icmp.echo_request(ident, sequence, b"weft")
    else:
        request = icmpv6.echo_request(ident, sequence, b"weft", PseudoHeader(source, target))
    try:
        raw.send(request)
    except OSError:  # unreachable just now: one that goes unanswered
        pass


def _take(
    raw: socket.socket,
    ident: int,
    sent: list[float],
    answers: dict[int, tuple[int, float]],
    until: float,
    enough: int = 1 << 30,
) -> None:
    """Answers that come before `until`, a monotonic time."""
    four = raw.family == socket.AF_INET
    while len(answers) < enough and (left := until - time.monotonic()) > 0:
        if not select.select([raw], [], [], left)[0]:
            return
        try:
            data = raw.recv(1 << 16)
        except OSError:
            continue
        ttl = data[8] if four else 0
        data = data[(data[0] & 15) * 4 :] if four else data
        if len(data) < 8 or data[0] != (icmp.ECHO_REPLY if four else icmpv6.ECHO_REPLY):
            continue
        of, sequence = struct.unpack("!HH", data[4:8])
        if of == ident and 0 < sequence <= len(sent):
            answers.setdefault(sequence, (ttl, time.monotonic() - sent[sequence - 1]))
