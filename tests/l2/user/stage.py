"""Two hosts, one of them or both with the user datapath, and what end points do: stream bytes, listen, count.

a ── [host 1: user] ── eth1 ═══ eth1 ── [host 2: kernel or user] ── b
"""

from __future__ import annotations

import errno
import hashlib
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.l2.l2_world import PATIENCE, Overlay, Underlay, bring
from weft.l2.datapath import Event
from weft.l2.kernel.datapath import KernelDatapath
from weft.l2.user.datapath import UserDatapath
from weft.model.port import AttachKind
from weft.netlink.namespace import entered, socket_in

Path = UserDatapath | KernelDatapath
_ETH_P_ALL = 0x0003
_NODE = re.compile(r'^(  \w+: \{vtep: (?:"[^"]+"|[^,}\s]+))', re.MULTILINE)

# A process that brings the first host to its plan, says so, and lives on: `python -c AGENT PREFIX`.
AGENT = """
import sys, time
from tests.l2.l2_world import Overlay, Underlay, bring
from tests.l2.user.stage import user
world = Underlay(sys.argv[1], (sys.argv[1] + "h1", sys.argv[1] + "h2"))
bring(user(world, 0), Overlay().plan(world, 0))
print("ready", flush=True)
time.sleep(600)
"""


def on_user(lab: str) -> str:
    """A lab file's text with `datapath: user` on all nodes."""
    text, changed = _NODE.subn(r"\1, datapath: user", lab)
    assert changed >= 2
    return text


@contextmanager
def stage(world: Underlay, overlay: Overlay, kinds: str = "uk") -> Iterator[list[Path]]:
    """Both hosts brought to their plans, `u` by the user datapath, `k` by the kernel's; forwarders end at the end."""
    if overlay.kind is AttachKind.NAMESPACE:
        for name in "ab":
            world.namespace(name)
    made: list[Path] = []
    try:
        for host, kind in enumerate(kinds):
            made.append(user(world, host) if kind == "u" else world.datapath(host))
            bring(made[-1], overlay.plan(world, host))  # type: ignore[arg-type]
        yield made
    finally:
        for path in made:
            if isinstance(path, UserDatapath):
                path.close()
                last = UserDatapath("default", path.host)
                last.stop()
                last.close()


def user(world: Underlay, host: int) -> UserDatapath:
    return UserDatapath("default", world.hosts[host], lambda name: f"{world.prefix}{name}")


def eventually(true: object) -> bool:
    """Whether a callable becomes true while a test has patience."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if true():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return bool(true())  # type: ignore[operator]


class Unaccepted(ConnectionResetError):
    """The receiver's kernel forgot a connection before anybody accepted it, and reset it when its data came.

    It does so where its address is away while it repeats its SYN-ACK (net/ipv4/inet_connection_sock.c,
    reqsk_timer_handler).
    """


def stream(source: str, target: str, address: str, data: bytes, port: int = 5001, patience: float = PATIENCE) -> str:
    """Sends `data` over TCP between two namespaces; the SHA-256 of what arrived.

    Raises OSError, the receiver's first; TimeoutError if nothing moves for `patience` seconds; Unaccepted.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = hashlib.sha256()
    failed: list[OSError] = []
    accepted: list[socket.socket] = []
    with socket_in(target, family, socket.SOCK_STREAM) as server, socket_in(source, family, socket.SOCK_STREAM) as out:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(1)
        server.settimeout(patience)
        out.settimeout(patience)

        def take() -> None:
            try:
                connection, _ = server.accept()
                accepted.append(connection)
                with connection:
                    connection.settimeout(patience)
                    while part := connection.recv(1 << 16):
                        found.update(part)
            except OSError as error:
                failed.append(error)

        taker = threading.Thread(target=take, daemon=True)
        taker.start()
        troubled: list[OSError] = []
        try:
            out.connect((address, port))
            out.sendall(data)
            out.shutdown(socket.SHUT_WR)
        except OSError as error:
            reset = isinstance(error, ConnectionResetError) and not accepted
            troubled.append(Unaccepted(*error.args) if reset else error)
            server.shutdown(socket.SHUT_RDWR)  # nobody else comes: the receiver says EINVAL, if it still waits
            out.close()
        taker.join(patience)
    if first := [error for error in failed if error.errno != errno.EINVAL] + troubled:
        raise first[0]
    return found.hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def captured(namespace: str, device: str) -> Iterator[list[bytes]]:
    """All frames that pass a device, both ways; complete when the block has ended."""
    frames: list[bytes] = []
    done = threading.Event()
    with socket_in(namespace, socket.AF_PACKET, socket.SOCK_RAW) as tap:
        tap.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        tap.bind((device, _ETH_P_ALL))
        tap.settimeout(0.1)

        def listen() -> None:
            while True:
                try:
                    frames.append(tap.recv(1 << 17))
                except TimeoutError:
                    if done.is_set():
                        return

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield frames
        finally:
            done.set()
            listener.join()


def datagram(namespace: str, source: str, target: tuple[str, int], data: bytes, tos: int = 0) -> None:
    """One UDP datagram from an IPv4 address of a namespace."""
    with socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        out.bind((source, 0))
        out.sendto(data, target)


def heard(namespace: str, port: int, group: str | None, own: str, send: object) -> bytes:
    """What arrives at a UDP port of a namespace (in a group, if one is named) after `send` was called."""
    with socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.settimeout(PATIENCE)
        listener.bind(("", port))
        if group:
            request = socket.inet_aton(group) + socket.inet_aton(own)
            listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        send()  # type: ignore[operator]
        return listener.recv(1000)


def resident(pid: int) -> int:
    """Octets of memory that a process has in use."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


def cast(namespace: str, own: str, target: str, port: int, data: bytes) -> None:
    """A broadcast or multicast datagram."""
    with socket_in(namespace, socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
        out.sendto(data, (target, port))


def raw(namespace: str, device: str, frame: bytes, times: int = 1) -> None:
    """Frames out of a device."""
    with socket_in(namespace, socket.AF_PACKET, socket.SOCK_RAW) as out, entered(namespace):
        out.bind((device, 0))
        for _ in range(times):
            out.send(frame)


def churned(frame: bytes, number: int) -> bytes:
    """The frame with a source MAC of its own."""
    return frame[:6] + b"\x06\x00" + struct.pack("!I", number) + frame[12:]


def told(path: UserDatapath, what: str) -> list[Event]:
    """The events until one begins like this; fails where none comes."""
    found: list[Event] = []
    fd = path.events_fd()
    while not any(event.what.startswith(what) for event in found):
        assert select.select([fd], [], [], PATIENCE)[0], f"only this came: {found}"
        found += path.events()
    return found
