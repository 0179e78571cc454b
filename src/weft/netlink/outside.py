"""Sockets of the host's own network, lent to a process that lives in a user and network namespace of its own.

    weft outside PATH        outside, as the same ordinary user; runs until it is ended

A socket belongs to the network namespace it was made in, whoever holds it (socket(2), network_namespaces(7)). So an
ordinary user needs no privilege to carry a network between machines: what has to be made in namespaces is made inside
(TAP devices, veth pairs), and UDP goes through sockets that this lender made outside and hands over (SCM_RIGHTS,
unix(7)). It is asked with three numbers of four octets in the machine's order: family, type, protocol. It answers with
one octet and the socket, and lends UDP and rtnetlink only, to its own user only.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

from weft.model.errors import Kind, WeftError

ENVIRONMENT = "WEFT_OUTSIDE"  # where the lender listens
_REQUEST = struct.Struct("=iii")
_CREDENTIALS = struct.Struct("=iII")  # struct ucred
_PATIENCE = 5.0
_LENT = {
    (socket.AF_INET, socket.SOCK_DGRAM, 0),
    (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    (socket.AF_NETLINK, socket.SOCK_RAW, 0),
}


def lender() -> str | None:
    """Where this process's lender listens, if it has one."""
    return os.environ.get(ENVIRONMENT) or None


def make(where: str | None, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket, closed on exec: of the namespace of the lender that listens at `where`, None: of the caller's own.

    Raises WeftError where the lender does not answer, OSError as socket(2).
    """
    if where is None:
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as asking:
        asking.settimeout(_PATIENCE)
        try:
            asking.connect(where)
            asking.send(_REQUEST.pack(family, kind, protocol))
            _, descriptors, _, _ = socket.recv_fds(asking, 1, 1)
        except OSError as error:
            remedy = f"run, outside of the namespaces: weft outside {where}"
            words = (error.strerror or str(error)).lower()
            raise WeftError(Kind.UNREACHABLE, f"nobody lends sockets: {words}", where=where, remedy=remedy) from error
    if not descriptors:
        raise WeftError(Kind.FAILED, "the lender refuses such a socket", where=where)
    os.set_inheritable(descriptors[0], False)
    return socket.socket(fileno=descriptors[0])


def serve(path: Path) -> None:
    """Lends until the process is ended; the socket at `path` is its owner's alone.

    Raises REFUSED where another lends or something else stands, FAILED where nobody can listen.
    """
    try:
        _free(path)
        _serve(path)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        remedy = "choose a short path in a directory of your own"
        raise WeftError(Kind.FAILED, f"cannot listen there: {words}", where=str(path), remedy=remedy) from error


def _free(path: Path) -> None:
    """What a lender that was killed has left is no hindrance."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise WeftError(Kind.REFUSED, "is there, and no socket", where=str(path), remedy="choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as asking:
        if asking.connect_ex(str(path)) == 0:
            raise WeftError(
                Kind.REFUSED, "another process listens here", where=str(path), remedy="use it, or end it first"
            )


def _serve(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as listener:
        unready = path.with_name(f"{path.name}.new")
        unready.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            listener.bind(str(unready))
        finally:
            os.umask(mask)
        listener.listen(16)
        unready.rename(path)  # who finds it can connect
        try:
            while True:
                client, _ = listener.accept()
                with client, suppress(OSError):
                    client.settimeout(_PATIENCE)
                    _lend(client)
        finally:
            path.unlink(missing_ok=True)


def _lend(client: socket.socket) -> None:
    _, uid, _ = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    request = client.recv(_REQUEST.size + 1)
    if uid != os.geteuid() or len(request) != _REQUEST.size or _REQUEST.unpack(request) not in _LENT:
        client.send(b"\0")
        return
    with socket.socket(*_REQUEST.unpack(request)) as lent:
        socket.send_fds(client, [b"\1"], [lent.fileno()])
