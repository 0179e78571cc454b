"""Network namespaces: make, name, remove, and act inside one, without a subprocess.

A name is a bind mount of the namespace's file in /run/netns, as iproute2 does it (ip/ipnetns.c), so `ip netns` sees
ours and we see its. To act inside, the calling thread enters (setns(2)) and comes back; a socket stays in the
namespace it was made in, so an `entered` block needs to be no longer than it takes to open one, and must not await.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from weft.model.errors import Kind, WeftError

RUN = Path("/run/netns")
Namespace = str | int | None  # a name, a path, an open file descriptor, or None: the calling thread's own
Rename = Callable[[str], str]  # a namespace as people call it → its name on this machine

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 4096, 16384, 1 << 20
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)
OWN = "/proc/thread-self/ns/net"  # of the calling thread


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None))


def path(name: str) -> Path:
    """Where a named namespace stands; a name with a `/` is a path already."""
    return Path(name) if "/" in name else RUN / name


def exists(name: str) -> bool:
    return path(name).exists()


def identity(name: str) -> tuple[int, int] | None:
    """What tells one namespace from another of the same name; None where there is none."""
    try:
        found = os.stat(path(name))
    except OSError:
        return None
    return found.st_dev, found.st_ino


def names() -> list[str]:
    """All named namespaces of this mount namespace, anybody's."""
    try:
        return sorted(os.listdir(RUN))
    except FileNotFoundError:
        return []


def create(name: str) -> None:
    """A new namespace under this name; its loopback is down. Raises WeftError if the name is taken or not allowed."""
    if not name or name in (".", "..") or "/" in name:
        raise WeftError(Kind.INVALID, f"'{name}' cannot name a namespace")
    try:
        _prepare()
        target = str(RUN / name)
        os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444))
        try:
            with fresh():
                _mount(OWN, target, _MS_BIND)
        except OSError:
            os.unlink(target)
            raise
    except FileExistsError:
        raise WeftError(Kind.FAILED, "the namespace exists", where=name, remedy=f"ip netns delete {name}") from None
    except OSError as error:
        raise _denied(error, name, "create the namespace") from error


def delete(name: str) -> None:
    """Removes the name, and the namespace with its devices once nothing holds it; no name, nothing to do."""
    target = str(RUN / name)
    try:
        try:
            _check(_libc.umount2(target.encode(), _MNT_DETACH))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # a bare file, or nothing
                raise
        Path(target).unlink(missing_ok=True)
    except OSError as error:
        raise _denied(error, name, "delete the namespace") from error


def _prepare() -> None:
    """/run/netns as a shared mount, so that names made here are seen in mount namespaces made before."""
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        _mount("", str(RUN), _MS_SHARED | _MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _mount(str(RUN), str(RUN), _MS_BIND | _MS_REC)
        _mount("", str(RUN), _MS_SHARED | _MS_REC)


@contextmanager
def _returning() -> Iterator[None]:
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        _check(_libc.setns(home, _CLONE_NEWNET))
        os.close(home)


@contextmanager
def fresh() -> Iterator[None]:
    """The calling thread inside a new namespace without a name; it goes with the last socket made in it."""
    with _returning():
        _check(_libc.unshare(_CLONE_NEWNET))
        yield


@contextmanager
def entered(namespace: Namespace) -> Iterator[None]:
    """The calling thread inside `namespace`; nothing in the block may await. Raises WeftError where there is none."""
    if namespace is None:
        yield
        return
    with _returning():
        _enter(namespace)
        yield


def _enter(namespace: str | int) -> None:
    try:
        if isinstance(namespace, int):
            _check(_libc.setns(namespace, _CLONE_NEWNET))
            return
        with opened(namespace) as fd:
            _check(_libc.setns(fd, _CLONE_NEWNET))
    except OSError as error:
        raise _denied(error, str(namespace), "enter the namespace") from error


@contextmanager
def opened(name: str) -> Iterator[int]:
    """A file descriptor of the namespace, for messages that name one by it. Raises WeftError where there is none."""
    try:
        fd = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise WeftError(Kind.FAILED, f"namespace '{name}' does not exist", remedy=f"ip netns add {name}") from None
    try:
        if os.fstat(fd).st_dev != os.stat(OWN).st_dev:  # namespaces are files of one file system, nsfs
            what = f"namespace '{name}' is dead: its name is a mere file, left by a crash or a restart"
            raise WeftError(Kind.FAILED, what, remedy=f"ip netns delete {name}; ip netns add {name}")
        yield fd
    finally:
        os.close(fd)


def required(name: str, by: str = "") -> None:
    """Raises WeftError, in the name of what needs it, unless the namespace is there."""
    try:
        with opened(name):
            pass
    except WeftError as error:
        raise WeftError(error.kind, error.what, where=by, remedy=error.remedy) from None


def socket_in(namespace: Namespace, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """Any socket, made inside a namespace. Raises WeftError where there is none, OSError as socket(2)."""
    with entered(namespace):
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)


def _denied(error: OSError, name: str, doing: str) -> WeftError:
    remedy = "run as root, or inside a user namespace" if error.errno in (errno.EPERM, errno.EACCES) else ""
    return WeftError(Kind.FAILED, f"cannot {doing}: {os.strerror(error.errno or 0).lower()}", where=name, remedy=remedy)
