"""What doctor finds, from values; and path MTU discovery on the loopback device."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

from weft.agent import doctor, path_mtu
from weft.agent.doctor import Check, State
from weft.compile.world import World
from weft.l2.user import receiver
from weft.l2.user.datapath import UserDatapath
from weft.model.errors import Kind, WeftError
from weft.model.intent import Intent
from weft.model.network import Network, Routed
from weft.model.node import DatapathKind, Facts, Node
from weft.model.port import Attach, AttachKind, Port


def world(vteps: dict[str, str], mtu: int | None = None, udp_port: int = 4789) -> World:
    """Nodes by name and VTEP, all in one network."""
    ports = {
        name: Port(
            name=name,
            network="blue",
            node=name,
            attach=Attach(kind=AttachKind.HOST),
            mac=f"02:00:00:00:00:{number:02x}",
            ips=(f"10.1.1.{number}",),
        )
        for number, name in enumerate(vteps, 1)
    }
    blue = Network(name="blue", vni=5, subnets=("10.1.1.0/24",), mtu=mtu, udp_port=udp_port)
    nodes = {name: Node(name=name, vtep=vtep) for name, vtep in vteps.items()}
    return World.of(Intent(nodes, {"blue": blue}, {}, ports))


def facts(node: str, interface: str | None = "eth1", mtu: int | None = 1500, **more: object) -> Facts:
    told = {"addresses": ("127.0.0.1",), "version": "1", "datapath": DatapathKind.KERNEL} | more
    return Facts(node=node, interface=interface, underlay_mtu=mtu, **told)  # type: ignore[arg-type]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_an_undeclared_node_is_one_failure() -> None:
    (found,) = doctor.check_node(world({"h1": "127.0.0.1"}), "h9", facts("h9"), {})
    assert (found.state, found.what) == (State.FAIL, "h9 is not declared")
    assert "h1" in found.remedy


def test_a_vtep_that_is_not_here_is_told_once() -> None:
    told = facts("h1", None, None, addresses=("192.0.2.1",))
    found = list(doctor.check_node(world({"h1": "127.0.0.1"}, udp_port=free_port()), "h1", told, {}))
    assert [check.name for check in found if check.state is State.FAIL] == ["vtep"]
    assert "192.0.2.1" in by_name(found)["vtep"].remedy


def test_an_mtu_above_the_underlay_fails_as_apply_refuses_it() -> None:
    found = list(doctor.check_node(world({"h1": "127.0.0.1"}, mtu=1451, udp_port=free_port()), "h1", facts("h1"), {}))
    assert by_name(found)["intent"].state is State.FAIL
    assert "1450" in by_name(found)["intent"].remedy + by_name(found)["intent"].what


def test_a_udp_port_is_free_ours_or_somebody_elses() -> None:
    port = free_port()
    here = world({"h1": "127.0.0.1"}, udp_port=port)

    def state(ours: dict[int, DatapathKind]) -> tuple[State, str]:
        check = by_name(list(doctor.check_node(here, "h1", facts("h1"), ours)))["udp port"]
        return check.state, check.what

    assert state({}) == (State.OK, f"{port} is free")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", port))
        assert state({}) == (State.FAIL, f"{port} is taken by somebody else")
        assert state({port: DatapathKind.KERNEL})[0] is State.OK
        assert state({port: DatapathKind.USER}) == (
            State.FAIL,
            f"{port} is held by our own datapath user, not h1's kernel",
        )


def test_a_user_vteps_udp_port_is_tried_where_it_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the VTEP's address, by the network's lender of sockets where there is one."""
    port = free_port()
    here = world({"h1": "127.0.0.1"}, udp_port=port)
    here.nodes["h1"] = replace(here.nodes["h1"], datapath=DatapathKind.USER)

    def state() -> State:
        return by_name(list(doctor.check_node(here, "h1", facts("h1"), {})))["udp port"].state

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.2", port))
        assert state() is State.OK
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        assert state() is State.FAIL
    monkeypatch.setenv("WEFT_OUTSIDE", str(tmp_path / "nobody"))
    with pytest.raises(WeftError, match="nobody lends sockets"):
        state()


@pytest.mark.parametrize(("value", "state"), [("0", State.WARN), ("1", State.OK)])
def test_a_host_that_does_not_forward_is_told_of_in_routed_networks(
    monkeypatch: pytest.MonkeyPatch, value: str, state: State
) -> None:
    monkeypatch.setattr("weft.netlink.sysctl.read", lambda knob, namespace: value)
    here = world({"h1": "127.0.0.1"}, udp_port=free_port())
    assert "forwarding" not in by_name(list(doctor.check_node(here, "h1", facts("h1"), {})))
    (name,) = here.networks
    routed = Routed(prefix_length=24, prefixes={"h1": "10.1.1.0/24"})
    here.networks[name] = replace(here.networks[name], routed=routed)
    found = by_name(list(doctor.check_node(here, "h1", facts("h1"), {})))["forwarding"]
    assert (found.state, "net.ipv4.ip_forward=1" in found.remedy) == (state, state is State.WARN)


def test_missing_features_are_told_with_their_remedy() -> None:
    (found,) = doctor.check_kernel({"vxlan": "modprobe vxlan", "tap": "told elsewhere"})
    assert (found.state, found.what, found.remedy) == (State.WARN, "vxlan is missing", "modprobe vxlan")
    assert next(doctor.check_kernel({})).state is State.OK


def test_an_error_becomes_a_failure_with_its_remedy() -> None:
    found = doctor.unreachable("store", WeftError(Kind.UNREACHABLE, "is gone", where="sqlite:///x", remedy="find it"))
    assert found == Check("store", State.FAIL, "sqlite:///x: is gone", "find it")


@pytest.mark.parametrize(("source", "peer", "family"), [("127.0.0.1", "127.0.0.2", socket.AF_INET)])
def test_the_path_to_a_peer(source: str, peer: str, family: socket.AddressFamily) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as listener:
        listener.bind((peer, 0))
        port = listener.getsockname()[1]
        found = path_mtu.probe(source, {"there": (peer, port), "deaf": (peer, free_port())}, 1400)
        assert found["there"].mtu == 1400
        assert not found["there"].refused
        assert found["deaf"].refused
        octets = listener.recv(65536)
        assert len(octets) == 1400 - 28
        assert not octets[0] & 0x08, "no VTEP may take it for VXLAN"


def test_a_source_that_is_not_here_is_said() -> None:
    found = path_mtu.probe("192.0.2.77", {"there": ("127.0.0.1", 4789)}, 1500)
    assert found["there"].mtu is None
    assert found["there"].why


def test_what_makes_the_user_datapath_slower_is_told_with_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    path = UserDatapath("doctor-test")
    try:
        monkeypatch.setattr(receiver, "offers", lambda: {"UDP_SEGMENT": False, "UDP_GRO": True, "room": True})
        monkeypatch.setattr("weft.l2.user.facts.missing", dict)
        forwarder, speed = doctor.check_user(path)
        assert (forwarder.state, speed.state) == (State.WARN, State.WARN)
        assert "every datagram that is sent costs a system call" in speed.what
        assert "4.18" in speed.remedy
        monkeypatch.setattr(receiver, "offers", lambda: {"UDP_SEGMENT": True})
        assert [check.state for check in doctor.check_user(path)] == [State.WARN, State.OK]
    finally:
        path.close()


def test_a_forwarder_of_an_earlier_weft_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    path = UserDatapath("doctor-test")
    try:
        monkeypatch.setattr(UserDatapath, "pid", 77)
        monkeypatch.setattr(UserDatapath, "workers", lambda _: ((), 0))
        (found,) = [check for check in doctor.check_user(path) if check.name == "workers"]
        assert found.state is State.WARN
        assert "of an earlier weft" in found.what
        assert "end process 77" in found.remedy
    finally:
        path.close()


@pytest.mark.parametrize(
    ("pids", "wished", "told"),
    [
        ((7,), 0, []),
        ((7,), 1, []),
        ((8, 0), 0, [(State.OK, "1 of 2 processes have networks to forward")]),
        ((8, 9), 2, [(State.OK, "2 of 2 processes have networks to forward")]),
        ((7,), 2, [(State.WARN, "the agent wishes 2 forwarding processes, the forwarder was started with 1")]),
        ((), 2, []),
    ],
)
def test_the_forwarder_s_processes_are_told_and_that_there_should_be_others(
    monkeypatch: pytest.MonkeyPatch, pids: tuple[int, ...], wished: int, told: list[tuple[State, str]]
) -> None:
    path = UserDatapath("doctor-test")
    try:
        monkeypatch.setattr(UserDatapath, "workers", lambda _: (pids, wished))
        found = [check for check in doctor.check_user(path) if check.name == "workers"]
        assert [(check.state, check.what) for check in found] == told
    finally:
        path.close()
