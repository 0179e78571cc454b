"""Labs for ordinary users: a process of theirs holds a user, a mount and a network namespace, and commands enter it.

`hold` starts `python -m weft.lab.rootless hold`, which unshares before anything with threads is imported (numpy starts
some, after which unshare(CLONE_NEWUSER) is EINVAL), maps the user to root inside, mounts a tmpfs on /run for
`ip netns` names, and sleeps until it is told to end. `enter` takes the calling process in, re-executing it where it
has threads already. user_namespaces(7).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from weft.lab import process, unshare
from weft.lab.place import HOLDER, base
from weft.model.errors import Kind, WeftError

_KINDS = (("user", unshare.CLONE_NEWUSER), ("mnt", unshare.CLONE_NEWNS), ("net", unshare.CLONE_NEWNET))
_READY = b"ready\n"
_KNOBS = (  # sysctl, the value that forbids, the value that allows
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "10000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)


def needed() -> bool:
    """Whether this process needs a holder to build a lab: it is not root, here or in a user namespace."""
    return os.geteuid() != 0


def hold(lab: str) -> None:
    """Starts the lab's holder and waits until its namespaces are there. Raises UNSUPPORTED with the sysctl to set.

    The caller has checked the lab's name. A holder that lives already is kept.
    """
    directory = base() / lab
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = process.read(directory / HOLDER)
    if found and process.alive(found):
        return
    command = [sys.executable, "-m", "weft.lab.rootless", "hold"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as holder:
        assert holder.stdout
        assert holder.stderr
        if holder.stdout.readline() != _READY:
            reason = holder.stderr.read().decode().strip().rpartition("\n")[2]
            directory.rmdir()
            raise _refusal(reason)
        process.write(directory / HOLDER, holder.pid)
        # the holder outlives us: nothing to wait for when this block ends
        holder.returncode = 0


def enter(lab: str, *, dead: bool = False) -> None:
    """Takes this process into the lab's namespaces, if the lab is a rootless one; call it before anything else.

    With threads running it executes the same command line anew, inside. Raises FAILED when the holder is dead, unless
    that is expected (`dead`), as when what is left of a lab is to be cleared.
    """
    labs = base()
    path = labs / lab / HOLDER
    if not needed() or not path.exists():
        return
    holder = process.read(path)
    if holder is None or not process.alive(holder):
        if dead:
            return
        raise WeftError(
            Kind.FAILED,
            "the process that held its namespaces is gone, as after a reboot",
            where=f"lab {lab}",
            remedy=f"`weft lab down {lab}` clears what is left",
        )
    os.environ["WEFT_LABS"] = str(labs)
    if len(os.listdir("/proc/self/task")) > 1:
        command = [sys.executable, "-m", "weft.lab.rootless", "enter", str(holder.pid), *sys.orig_argv]
        os.execv(sys.executable, command)
    _join(holder.pid)


def release(lab: str) -> None:
    """Ends the lab's holder and all else in its user namespace, such as forwarders: the kernel then frees all of it."""
    path = base() / lab / HOLDER
    found = process.read(path)
    if found and process.alive(found):
        process.stop([*process.inside([Path(f"/proc/{found.pid}/ns/user")], "user"), found])
    path.unlink(missing_ok=True)


def tap_refusal() -> WeftError | None:
    """Why TAP devices cannot be made here, or None. Only ports with `attach: tap` need them."""
    if os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return None
    return WeftError(
        Kind.UNSUPPORTED,
        "/dev/net/tun is closed to this user, so there are no TAP devices in this lab",
        remedy="`chmod 0666 /dev/net/tun` as root, or attach the port to a namespace",
    )


def _join(pid: int) -> None:
    directory = os.getcwd()
    descriptors = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in _KINDS]
    for fd, kind in descriptors:
        unshare.setns(fd, kind)
        os.close(fd)
    try:
        os.chdir(directory)  # a change of mount namespace puts a process to its root
    except OSError:
        os.chdir("/")


def _refusal(reason: str) -> WeftError:
    for knob, forbidding, allowing in _KNOBS:
        try:
            forbidden = Path("/proc/sys", knob).read_text().strip() == forbidding
        except OSError:  # a kernel without this knob
            continue
        if forbidden:
            name = knob.replace("/", ".")
            return WeftError(
                Kind.UNSUPPORTED,
                f"this machine forbids user namespaces to ordinary users ({name} is {forbidding})",
                remedy=f"as root: sysctl {name}={allowing}; or run the lab as root",
            )
    return WeftError(
        Kind.UNSUPPORTED,
        f"cannot make a user namespace: {reason or 'the process ended'}",
        remedy="run the lab as root, or allow user namespaces (in a container: its seccomp profile)",
    )


def _hold() -> None:
    """The holder's life. Runs in its own process; says `ready` once commands can enter."""
    os.chdir("/")  # a holder must not keep a directory busy
    uid, gid = os.getuid(), os.getgid()
    unshare.unshare(unshare.CLONE_NEWUSER | unshare.CLONE_NEWNS | unshare.CLONE_NEWNET)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    unshare.mount("none", "/", "none", unshare.MS_REC | unshare.MS_SLAVE)
    unshare.mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
    Path("/run/netns").mkdir()
    sys.stdout.buffer.write(_READY)
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    signal.pause()


def _main(arguments: list[str]) -> None:
    if arguments[0] == "hold":
        try:
            _hold()
        except OSError as error:
            sys.exit(str(error))
    else:
        _join(int(arguments[1]))
        os.execvp(arguments[2], arguments[2:])


if __name__ == "__main__":
    _main(sys.argv[1:])
