"""A kernel whose UDP sockets know no trains (UDP_SEGMENT, UDP_GRO): slower, told by doctor, and otherwise the same.

The forwarder is one to which both options have numbers that no kernel knows.
"""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.l2.l2_world import IPS, Overlay, Underlay, reaches
from tests.l2.user.iptunnel.tunnel_stage import OWN, tunnels
from tests.l2.user.stage import captured, sha256, stage, stream
from weft.agent import doctor
from weft.agent.doctor import State
from weft.l2.datapath import Datapath
from weft.l2.user import process, receiver
from weft.netlink.namespace import socket_in

pytestmark = pytest.mark.system

A4, B4 = (ips[0].split("/")[0] for ips in IPS)
A6, B6 = (ips[1].split("/")[0] for ips in IPS)
DATA = random.Random(7).randbytes(400_000)
UNKNOWN = 0x7000
FRAME_MAX = 1514  # octets of a frame on the underlay that is one datagram

_FORWARDER = f"""#!{sys.executable}
import sys
from weft.l2.user import receiver
receiver.UDP_SEGMENT = receiver.UDP_GRO = {UNKNOWN}
from weft.l2.user.forwarder import main
sys.argv = sys.argv[2:]
sys.exit(main())
"""


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """From its call on this process, and the forwarders that it starts, are on such a kernel."""

    def make() -> None:
        python = tmp_path / "python"
        python.write_text(_FORWARDER)
        python.chmod(0o755)
        monkeypatch.setattr(process, "sys", SimpleNamespace(executable=str(python)))
        monkeypatch.setenv("WEFT_WORKERS", "1")  # others would be started by Python itself
        monkeypatch.setattr(receiver, "UDP_SEGMENT", UNKNOWN)
        monkeypatch.setattr(receiver, "UDP_GRO", UNKNOWN)

    return make


@pytest.mark.parametrize("trains", [True, False], ids=["trains", "none"])
@pytest.mark.parametrize("kinds", ["uu", "uk"])
def test_traffic_goes_through_datagram_by_datagram(
    underlay: Underlay, older: Callable[[], None], kinds: str, trains: bool
) -> None:
    if not trains:
        older()
    with stage(underlay, Overlay(), kinds) as (mine, _), captured(underlay.hosts[0], "eth1") as frames:
        a, b = f"{underlay.prefix}a", f"{underlay.prefix}b"
        assert reaches(underlay, B4)
        assert reaches(underlay, B6)
        for address, other in ((B4, A4), (B6, A6)):
            assert stream(a, b, address, DATA) == sha256(DATA)
            assert stream(b, a, other, DATA) == sha256(DATA)
        assert _udp_train(a, b, B4, 1000) == DATA[:40_000]
        assert bool(_told(mine)) != trains
    assert _trains(underlay, frames) == trains


@pytest.mark.parametrize("trains", [True, False], ids=["trains", "none"])
def test_an_ip_tunnels_too(underlay: Underlay, older: Callable[[], None], trains: bool) -> None:
    if not trains:
        older()
    here, there = underlay.hosts
    with tunnels(underlay), captured(here, "eth1") as frames:
        for source, target, address in ((here, there, OWN[1]), (there, here, OWN[0])):
            assert stream(source, target, address, DATA) == sha256(DATA)
    assert _trains(underlay, frames) == trains


def test_doctor_tells_what_is_missing(underlay: Underlay, older: Callable[[], None]) -> None:
    older()
    with stage(underlay, Overlay(), "uk") as (mine, _):
        assert _told(mine) == [
            ("UDP_SEGMENT is missing: every datagram that is sent costs a system call", "Linux 4.18 or later"),
            ("UDP_GRO is missing: every datagram that is received costs a system call", "Linux 5.0 or later"),
        ]


def _told(path: Datapath) -> list[tuple[str, str]]:
    """What doctor has to say of the options, with its remedy."""
    return [
        (check.what, check.remedy)
        for check in doctor.check_user(path)
        if check.state is State.WARN and "UDP_" in check.what
    ]


def _trains(underlay: Underlay, frames: list[bytes]) -> bool:
    """Whether the first host sent trains: one is one frame here, as no NIC cuts it."""
    ours = [frame for frame in frames if frame[26:30] == socket.inet_aton(underlay.vteps[0])]
    assert len(ours) > len(DATA) // 65536
    return any(len(frame) > FRAME_MAX for frame in ours)


def _udp_train(source: str, target: str, address: str, size: int) -> bytes:
    """What arrives of 40,000 octets in datagrams of `size` that an end point hands over as one frame."""
    with (
        socket_in(target, socket.AF_INET, socket.SOCK_DGRAM) as listener,
        socket_in(source, socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        listener.settimeout(10)
        listener.bind((address, 7000))
        out.setsockopt(17, 103, size)  # UDP_SEGMENT
        out.sendto(DATA[:40_000], (address, 7000))
        return b"".join(listener.recv(2000) for _ in range(40_000 // size))
