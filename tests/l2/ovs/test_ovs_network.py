"""A network between two Open vSwitches: made, observed as planned, mended, taken away."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import replace

import pytest

from tests.l2.l2_world import BLUE, IPS, MACS, Overlay, ip, reaches
from tests.l2.ovs.conftest import Switches, eventually
from weft.agent.cleanup import cleanup
from weft.l2.datapath import Punted, ToPorts, ToTunnels
from weft.l2.ovs import ovsdb
from weft.l2.ovs.datapath import OvsDatapath
from weft.l2.ovs.flows import Flow
from weft.l2.ovs.told_routes import OPTION
from weft.l2.ovs.traps import Trap
from weft.lab.capture import Capture
from weft.model.errors import Kind, WeftError
from weft.model.network import Arp, SegmentKey
from weft.model.port import AttachKind
from weft.netlink.ethtool import set_offloads
from weft.plan import tables
from weft.plan.diff import diff
from weft.plan.node import NodePlan
from weft.plan.operations import PutSegment
from weft.wire import arp
from weft.wire.address import BROADCAST
from weft.wire.ethernet import ARP, Ethernet

pytestmark = pytest.mark.system

LEARNING = Overlay(learning=True, arp=Arp.FLOOD)
RELAYED = Overlay(learning=True, arp=Arp.PROXY)
KINDS = {
    "suppress": Overlay(),
    "data-plane": LEARNING,
    "ipv6-underlay": Overlay(six=True, mtu=1430),
    "flannel's port": Overlay(key=SegmentKey(8472, 5000)),
    "host": Overlay(kind=AttachKind.HOST),
    "flood": Overlay(arp=Arp.FLOOD),
}


def bring(path: OvsDatapath, wanted: NodePlan) -> list[str]:
    """Applies the difference, checks that none is left, and returns the operations as text."""
    operations = diff(wanted, path.observe())
    applied = path.apply(operations)
    assert applied.failed == (), [str(error) for _, error in applied.failed]
    left = diff(wanted, path.observe())
    assert not left, [str(operation) for operation in left]
    return [str(operation) for operation in operations]


def up(switches: Switches, overlay: Overlay = KINDS["suppress"]) -> list[OvsDatapath]:
    switches.namespaces(overlay)
    paths = [switches.datapath(0), switches.datapath(1)]
    for host, path in enumerate(paths):
        assert bring(path, overlay.plan(switches.world, host))
    return paths


def pings(switches: Switches, target: str, overlay: Overlay = KINDS["suppress"]) -> bool:
    if overlay.kind is AttachKind.NAMESPACE:
        return reaches(switches.world, target, tries=3)
    command = ["ip", "netns", "exec", switches.world.hosts[0], "ping", "-c", "3", "-i", "0.05", "-W", "10", target]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("overlay", KINDS.values(), ids=KINDS)
def test_what_is_planned_comes_true_and_a_new_process_finds_nothing_to_do(switches: Switches, overlay: Overlay) -> None:
    up(switches, overlay)
    for ip_ in IPS[1]:
        assert pings(switches, ip_.partition("/")[0], overlay)
    learned = switches.datapath(0).observe().learned
    assert bool(learned) is overlay.learning
    again = switches.datapath(0)
    assert diff(overlay.plan(switches.world, 0), again.observe()) == []
    assert again.observe().learned.keys() == learned.keys()


def test_learned_rows_outlive_a_change_of_flows(switches: Switches) -> None:
    first, _ = up(switches, LEARNING)
    assert pings(switches, "10.1.1.12")
    plan = LEARNING.plan(switches.world, 0)
    more = replace(plan.tables[BLUE], flood=tables.flood([switches.world.vteps[1], "192.168.33.99"]))
    bring(first, replace(plan, tables={BLUE: more}))
    (row,) = tables.text(tables.Table.FDB, first.observe().learned[BLUE].fdb)
    assert row == (MACS[1], switches.world.vteps[1])


def test_the_nic_gets_its_address_and_routes_back(switches: Switches) -> None:
    host = switches.world.hosts[0]
    ip(host, "ip", "route", "add", "198.51.100.0/24", "via", "192.168.33.254", "metric", "7")
    before = switches.world.links(0).get("eth1")
    first = up(switches)[0]
    shown = subprocess.run(["ip", "netns", "exec", host, "ip", "route"], capture_output=True, text=True, check=True)
    assert "198.51.100.0/24 via 192.168.33.254 dev br-phy metric 7" in shown.stdout.replace(" proto static", "")
    assert cleanup(first, "h1").failed == ()
    shown = subprocess.run(["ip", "netns", "exec", host, "ip", "route"], capture_output=True, text=True, check=True)
    assert "192.168.33.0/24 dev eth1" in shown.stdout
    assert "198.51.100.0/24 via 192.168.33.254 dev eth1 metric 7" in shown.stdout.replace(" proto static", "")
    assert switches.database(0).bridges() == {}
    after = switches.world.links(0).get("eth1")
    assert before is not None
    assert after is not None
    assert {link.name for link in switches.world.links(0).dump()} == {"lo", "eth1"}


def test_what_is_not_ours_survives_everything(switches: Switches) -> None:
    database = switches.database(0)
    database.commit(*ovsdb.add_bridge("br-foreign", {}, datapath_type="netdev"))
    first = up(switches)[0]
    database.commit(
        *ovsdb.add_port(database.bridges()["br-int"].uuid, "foreign0", {"tag": 9}, {"type": "internal"}),
    )
    strange = Flow(20, 5, "dl_vlan=9", "drop", 0xBEEF)
    switches.flows(0).change([], [strange])
    bring(first, LEARNING.plan(switches.world, 0))
    assert strange in switches.flows(0).dump()
    applied = cleanup(first, "h1")
    assert applied.failed == ()
    bridges = database.bridges()
    assert set(bridges) == {"br-foreign", "br-int", "br-tun"}
    assert set(bridges["br-int"].ports) == {"br-int", "foreign0"}
    assert set(bridges["br-tun"].ports) == {"br-tun"}
    assert switches.flows(0).dump() == [strange]
    assert "weft" not in str(bridges["br-int"].external_ids)


def test_a_foreign_bridge_in_our_place_is_refused_and_untouched(switches: Switches) -> None:
    database = switches.database(0)
    database.commit(*ovsdb.add_bridge("br-tun", {}, datapath_type="netdev", external_ids={"by": "somebody"}))
    first = switches.datapath(0)
    plan = Overlay(kind=AttachKind.HOST).plan(switches.world, 0)
    applied = first.apply(diff(plan, first.observe()))
    assert "a bridge that is not weft's has the name" in str(applied.failed[0][1])
    assert database.bridges()["br-tun"].external_ids == {"by": "somebody"}


def test_a_restarted_switch_is_noticed_and_filled_again(switches: Switches) -> None:
    first = up(switches)[0]
    plan = KINDS["suppress"].plan(switches.world, 0)
    first.events()
    switches.restart(0)
    assert eventually(lambda: any("answers again" in event.what for event in first.events()))
    operations = bring(first, plan)
    assert any("flows missing" in operation for operation in operations)
    assert pings(switches, "10.1.1.12")


def test_drift_is_told_of_and_mended(switches: Switches) -> None:
    first = up(switches)[0]
    plan = KINDS["suppress"].plan(switches.world, 0)
    assert eventually(lambda: first.events() or True)
    switches.flows(0).change((), (), [f"delete table=20,dl_dst={MACS[1]}"])
    assert eventually(lambda: any("flows changed" in event.what for event in first.events()))
    assert any(line.startswith("+ fdb") for line in bring(first, plan))
    database = switches.database(0)
    port = database.bridges()["br-int"].ports["wp-a"]
    database.commit(ovsdb.update("Port", port.uuid, tag=77))
    assert eventually(lambda: any("bridges or ports" in event.what for event in first.events()))
    assert any("has tag 77" in line for line in bring(first, plan))
    (tunnel,) = [name for name in database.bridges()["br-tun"].ports if name.startswith("wt")]
    found = database.bridges()["br-tun"]
    database.commit(ovsdb.drop_port(found.uuid, found.ports[tunnel]))
    assert bring(first, plan)
    ip(switches.world.hosts[0], "ip", "address", "flush", "dev", "br-phy")
    assert any("lost 192.168.33.12/24" in line for line in bring(first, plan))
    assert pings(switches, "10.1.1.12")


@pytest.mark.parametrize("wrong", [{"group": "239.1.1.1"}])
def test_what_a_switch_cannot_be_is_refused(switches: Switches, wrong: dict[str, object]) -> None:
    plan = KINDS["suppress"].plan(switches.world, 0)
    first = switches.datapath(0)
    (failed,) = first.apply([PutSegment(replace(plan.segments[BLUE], **wrong))]).failed  # type: ignore[arg-type]
    assert failed[1].kind is Kind.UNSUPPORTED
    assert switches.database(0).bridges() == {}
    assert first.facts("h1", switches.world.vteps[0]).receives_groups is False


def test_the_first_packet_is_not_lost_and_a_port_leaves_nothing_unfinished(switches: Switches) -> None:
    first = up(switches)[0]
    first.events()
    assert reaches(switches.world, "10.1.1.12", tries=1)
    set_offloads("eth0", True, f"{switches.world.prefix}a")
    flaws = first.observe().flaws
    assert "TCP hangs" in str(flaws["a"])
    bring(first, KINDS["suppress"].plan(switches.world, 0))


def test_a_forged_source_does_not_draw_a_local_host_away(switches: Switches) -> None:
    first, second = up(switches)
    switches.world.namespace("c")
    plan = KINDS["suppress"].plan(switches.world, 0)
    third = replace(plan.ports["a"], name="c", mac="02:00:00:00:00:0c", addresses=("10.1.1.13/24",))
    third = replace(third, attach=type(third.attach)(kind=AttachKind.NAMESPACE, target="c"))
    bring(first, replace(plan, ports=plan.ports | {"c": third}))
    assert reaches(switches.world, "10.1.1.13")
    forged = bytes.fromhex("ffffffffffff" + MACS[0].replace(":", "") + "88b5") + bytes(46)
    second.inject(BLUE, forged, ToTunnels())
    assert reaches(switches.world, "10.1.1.11", source="c", tries=1)
    assert eventually(lambda: first.counters().drops.get("br-tun table 2", 0) > 0)
    assert first.counters().drops["br-tun table 2"] == 1


def test_frames_are_injected_where_they_are_meant_to_go(switches: Switches) -> None:
    first = up(switches, LEARNING)[0]
    frame = bytes.fromhex("ffffffffffff" + "0200000000ee" + "88b5") + b"x" * 46
    seen = {}
    for name, to in (("tunnel", ToTunnels(switches.world.vteps[1])), ("port", ToPorts("a"))):
        listener = Capture(f"{switches.world.prefix}{'b' if name == 'tunnel' else 'a'}", {"eth0": name})
        listener.start()
        first.inject(BLUE, frame, to)
        assert eventually(lambda listener=listener: frame in [each.octets for each in listener._frames])
        seen[name] = [each.octets for each in listener.stop(0.2) if each.octets[12:14] == frame[12:14]]
    assert seen == {"tunnel": [frame], "port": [frame]}
    assert first.counters().ports["a"][2] >= 1


def test_flows_are_shown_with_our_names(switches: Switches) -> None:
    first = up(switches)[0]
    rows = first.flow_rows()
    (row,) = [row for row in rows if row["table"] == "20" and row["mac"] == MACS[1]]
    assert (row["network"], row["to"], row["owner"]) == ("blue", switches.world.vteps[1], "put")
    assert row["match"].startswith("dl_vlan=1[blue]")
    assert row["actions"].endswith("[192.168.33.13]")


def test_doctor_finds_a_stale_next_hop_and_an_open_nic(switches: Switches) -> None:
    first = up(switches)[0]
    assert eventually(lambda: not [trap for trap in first.traps() if trap.bad])
    control = switches.running[0].directory / f"ovs-vswitchd.{switches.running[0].switch}.ctl"
    stale = ["tnl/neigh/set", "br-phy", switches.world.vteps[1], "02:00:00:00:00:99"]
    found: dict[str, Trap] = {}

    def told() -> bool:
        """The kernel's next question to the peer sets it right, so it may have to be set wrong again."""
        subprocess.run(["ovs-appctl", "-t", str(control), *stale], check=True, capture_output=True)
        found.update({trap.name: trap for trap in first.traps() if trap.bad})
        return "next hop" in found

    ip(switches.world.hosts[0], "nft", "flush", "ruleset")
    assert eventually(told)
    assert "believes 02:00:00:00:00:99" in found["next hop"].what
    assert found["next hop"].remedy == "ovs-appctl tnl/neigh/set br-phy 192.168.33.13 02:00:00:00:33:13"
    assert "the host's own stack hears eth1" in found["br-phy"].what


def test_doctor_finds_a_nic_that_joins_packets(switches: Switches) -> None:
    first = up(switches)[0]
    assert "gro" not in {trap.name for trap in first.traps() if trap.bad}
    set_offloads("eth1", True, switches.world.hosts[0])
    (found,) = [trap for trap in first.traps() if trap.bad and trap.name == "gro"]
    assert found.remedy == "ethtool -K eth1 gro off"


def test_a_peer_with_another_mac_is_found_again(switches: Switches) -> None:
    """Its announcement, or the kernel's own asking, tells ovs-vswitchd, which by itself would believe for 900 s."""
    first, second = up(switches)
    assert reaches(switches.world, "10.1.1.12")
    ip(switches.world.hosts[1], "ip", "link", "set", "eth1", "address", "02:00:00:00:33:99")
    plan = KINDS["suppress"].plan(switches.world, 1)
    assert any("has not the MAC of eth1" in line for line in bring(second, plan))
    assert eventually(lambda: reaches(switches.world, "10.1.1.12", tries=1))
    assert first.observe().flaws == {}


def test_what_the_kernel_learns_of_a_next_hop_is_told_to_the_switch(switches: Switches) -> None:
    """A peer that comes up later asks for us: the kernel knows its MAC from then on, and ovs-vswitchd does not."""
    first = up(switches)[0]
    first.events()
    control = switches.running[0].directory / f"ovs-vswitchd.{switches.running[0].switch}.ctl"

    def believed() -> str:
        first.events()
        shown = ["ovs-appctl", "-t", str(control), "tnl/neigh/show"]
        return subprocess.run(shown, check=True, capture_output=True, text=True).stdout

    for mac in ("02:00:00:00:33:77", "02:00:00:00:33:78"):
        subprocess.run(["ovs-appctl", "-t", str(control), "tnl/neigh/flush"], check=True, capture_output=True)
        learned = f"ip neighbor replace {switches.world.vteps[1]} lladdr {mac} dev br-phy nud permanent"
        ip(switches.world.hosts[0], *learned.split())
        assert eventually(lambda mac=mac: mac in believed())


def test_what_local_hosts_say_is_heard(switches: Switches) -> None:
    first = up(switches)[0]
    first.watch([BLUE])
    assert not reaches(switches.world, "10.1.1.99", tries=1)
    heard: list[object] = []
    assert eventually(lambda: heard.extend(first.punt()) or any(type(each).__name__ == "Heard" for each in heard))
    frames = [each for each in heard if type(each).__name__ == "Punted"]
    assert frames
    assert {getattr(each, "port", None) for each in heard} == {"a"}
    assert first.speaker(BLUE).startswith("02:")


def test_what_a_host_port_is_sent_is_not_taken_for_what_it_says(switches: Switches) -> None:
    overlay = Overlay(kind=AttachKind.HOST, arp=Arp.FLOOD)
    first = up(switches, overlay)[0]
    first.watch([BLUE])
    command = ["ip", "netns", "exec", switches.world.hosts[1], "ping", "-c", "3", "-i", "0.05", "-W", "10", "10.1.1.11"]
    assert not subprocess.run(command, capture_output=True, check=False).returncode
    assert not [each for each in first.punt() if isinstance(each, Punted)]


@pytest.mark.parametrize("overlay", [RELAYED, replace(RELAYED, six=True, mtu=1430)], ids=["ipv4", "ipv6"])
def test_arp_out_of_a_tunnel_is_punted_with_its_vtep_also_by_a_restarted_switch(
    switches: Switches, overlay: Overlay
) -> None:
    first, second = up(switches, overlay)
    key, (mine, theirs) = overlay.key, switches.world.vteps6 if overlay.six else switches.world.vteps
    asked = Ethernet(BROADCAST, MACS[1], ARP).encode(arp.request(MACS[1], "10.1.1.12", "10.1.1.11").encode())
    first.watch([key])

    def punted() -> bool:
        second.inject(key, asked, ToTunnels(mine))
        return Punted(key, asked, vtep=theirs) in first.punt()

    beside = Capture(f"{switches.world.prefix}a", {"eth0": "a"})
    beside.start()
    assert eventually(punted)
    assert [each for each in beside.stop(0.1) if each.octets[12:14] == asked[12:14]] == []
    with pytest.raises(WeftError, match="no tunnel leads there"):
        second.inject(key, asked, ToTunnels("192.168.33.99"))
    switches.restart(0)
    assert eventually(lambda: answers(first))
    assert bring(first, overlay.plan(switches.world, 0))
    assert eventually(punted)


def test_a_switch_that_is_told_its_routes_keeps_them_while_links_come_and_go(switches: Switches) -> None:
    """What it does not know as a tunnel's packet the host's own stack gets, which counts it."""
    for host in (0, 1):
        switches.restart(host, OPTION)
    first = up(switches)[0]
    plan = KINDS["suppress"].plan(switches.world, 0)
    assert not [trap for trap in first.traps() if trap.bad and trap.name == "routes"]
    assert pings(switches, "10.1.1.12")
    before = strangers(switches.world.hosts[0])
    command = ["ip", "netns", "exec", f"{switches.world.prefix}a", "ping", "-q", "-i", "0.002", "-w", "20", "10.1.1.12"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pinging:
        for number in range(20):
            ip(switches.world.hosts[0], *f"ip link add x{number} type veth peer name y{number}".split())
            ip(switches.world.hosts[0], *f"ip link set x{number} up".split())
            ip(switches.world.hosts[0], *f"ip link delete x{number}".split())
        pinging.send_signal(signal.SIGINT)
        told = pinging.communicate()[0]
    assert " 0 received" not in told
    assert strangers(switches.world.hosts[0]) == before, told
    switches.restart(0, OPTION)
    assert eventually(lambda: answers(first))
    assert bring(first, plan)
    assert pings(switches, "10.1.1.12")
    switches.restart(0)
    assert eventually(lambda: answers(first))
    assert bring(first, plan)
    (tunnel,) = [row for name, row in switches.database(0).bridges()["br-tun"].ports.items() if name.startswith("wt")]
    assert tunnel.interfaces[0].options["local_ip"] == switches.world.vteps[0], "it reads the host's routes again"
    assert pings(switches, "10.1.1.12")


def answers(path: OvsDatapath) -> bool:
    """Whether a switch that was started anew has its bridges again."""
    try:
        path.observe()
    except WeftError:
        return False
    return True


def strangers(host: str) -> int:
    """UDP packets that nobody on a host has waited for."""
    shown = subprocess.run(["ip", "netns", "exec", host, "cat", "/proc/net/snmp"], check=True, capture_output=True)
    names, values = [line.split() for line in shown.stdout.decode().splitlines() if line.startswith("Udp:")]
    return int(dict(zip(names, values, strict=True))["NoPorts"])
