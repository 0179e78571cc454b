"""Node plans as flows: golden text that a person can review, and back again."""

from __future__ import annotations

from weft.l2.ovs import flows, tables
from weft.l2.ovs.flows import Flow, Held, Ports
from weft.l2.ovs.ofctl import parse
from weft.model.network import Arp, SegmentKey
from weft.plan import tables as t
from weft.plan.operations import DropRows, PutRows
from weft.plan.segment import Segment
from weft.plan.tables import Table, Tables

A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
ND = range(133, 138)
H2, H3 = "192.168.33.13", "192.168.33.14"
PORTS = Ports(1, {(4789, H2): 2, (4789, H3): 3})
MINE, LEARNED = flows.owner("default"), flows.owner("default", learned=True)


def held(
    tag: int = 1,
    key: SegmentKey = SegmentKey(4789, 5000),  # noqa: B008 - a value
    learning: bool = False,
    arp: Arp = Arp.SUPPRESS,
) -> Held:
    rows = Tables(
        t.fdb([] if learning else [(B, H2), (C, H3)]),
        t.neighbors([("10.1.1.1", A), ("10.1.1.2", B), ("2001:db8::3", C)] if arp is Arp.SUPPRESS else []),
        t.flood([H2, H3]),
    )
    return Held(Segment(key, "blue", "192.168.33.12", 1450, learning, 300, arp), tag, rows, frozenset({A}))


def lines(found: list[Flow]) -> list[str]:
    return [f"{flow.table}/{flow.priority} {flow.match or 'any'} → {flow.actions}" for flow in sorted(found)]


def test_the_frame_classifies_by_port() -> None:
    assert lines(list(flows.frame(PORTS, "default"))) == [
        "0/0 any → drop",
        "0/1 in_port=1 → resubmit(,1)",
        "0/1 in_port=2 → resubmit(,2)",
        "0/1 in_port=3 → resubmit(,2)",
        "1/0 dl_dst=00:00:00:00:00:00/01:00:00:00:00:00 → resubmit(,20)",
        "1/0 dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 → resubmit(,21)",
        f"1/4 dl_dst={flows.speaker('default')} → drop",
        "2/0 any → drop",
        "20/0 any → resubmit(,21)",
        "21/0 any → drop",
        "22/0 any → drop",
        "22/1 icmp6,icmp_type=135 → load:0x88->NXM_NX_ICMPV6_TYPE[],resubmit(,23)",
        "22/2 icmp6,ipv6_src=::,icmp_type=135 → drop",
        "23/0 any → drop",
    ]


def test_without_a_control_plane_there_is_nothing_that_answers() -> None:
    assert {flow.table for flow in flows.frame(PORTS, "default", programmed=False)} == {0, 1, 2, 20, 21}


def test_data_plane_learning_is_a_learn_action_that_takes_the_tag_off() -> None:
    cookie = f"{LEARNED | 5000:#x}"
    assert lines(list(flows.segment(held(learning=True, arp=Arp.FLOOD), PORTS, "default"))) == [
        f"2/1 tun_id=0x1388 → mod_vlan_vid:1,learn(table=20,hard_timeout=300,priority=1,cookie={cookie},"
        "NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],"
        "load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],output:NXM_OF_IN_PORT[]),output:1",
        "21/1 dl_vlan=1 → strip_vlan,load:0x1388->NXM_NX_TUN_ID[],output:2,output:3",
    ]


def test_a_suppressed_segment_answers_for_remote_hosts_and_floods_nothing_unknown() -> None:
    found = lines(list(flows.segment(held(), PORTS, "default")))
    assert [line for line in found if line.startswith(("1/", "2/", "20/", "21/"))] == [
        "1/2 arp,dl_vlan=1 → resubmit(,22)",
        *(f"1/2 icmp6,dl_vlan=1,icmp_type={kind} → resubmit(,22)" for kind in range(133, 138)),
        "2/1 tun_id=0x1388 → mod_vlan_vid:1,output:1",
        f"2/4 tun_id=0x1388,dl_src={A} → drop",
        "20/1 dl_vlan=1 → drop",
        f"20/2 dl_vlan=1,dl_dst={B} → strip_vlan,load:0x1388->NXM_NX_TUN_ID[],output:2",
        f"20/2 dl_vlan=1,dl_dst={C} → strip_vlan,load:0x1388->NXM_NX_TUN_ID[],output:3",
        "21/1 dl_vlan=1 → strip_vlan,load:0x1388->NXM_NX_TUN_ID[],output:2,output:3",
    ]
    assert "22/1 arp,dl_vlan=1,arp_tpa=10.1.1.1,arp_op=1 → note:02.00.00.00.00.0a" in found  # local: answers himself
    (answer,) = [line for line in found if "arp_tpa=10.1.1.2" in line]
    assert answer.endswith(f"load:{0x0A010102:#x}->NXM_OF_ARP_SPA[],IN_PORT")
    assert f"mod_dl_src:{B}" in answer


def test_arp_of_a_relayed_segment_comes_from_tunnels_to_us_alone_and_enters_none() -> None:
    found = lines(list(flows.segment(held(learning=True, arp=Arp.PROXY), PORTS, "default")))
    learn = (
        f"learn(table=20,hard_timeout=300,priority=1,cookie={LEARNED | 5000:#x},NXM_OF_VLAN_TCI[0..11],"
        "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],"
        "output:NXM_OF_IN_PORT[])"
    )
    assert found == [
        *(f"1/2 {about} → drop" for about in ["arp,dl_vlan=1", *(f"icmp6,dl_vlan=1,icmp_type={n}" for n in ND)]),
        f"2/1 tun_id=0x1388 → mod_vlan_vid:1,{learn},output:1",
        f"2/5 arp,tun_id=0x1388 → mod_vlan_vid:1,{learn},strip_vlan,"
        "controller(max_len=256,id=30565,userdata=12.b5.00.00.13.88)",
        "21/1 dl_vlan=1 → strip_vlan,load:0x1388->NXM_NX_TUN_ID[],output:2,output:3",
    ]
    assert flows.segment_told(bytes.fromhex("12b500001388")) == SegmentKey(4789, 5000)
    assert flows.segment_told(b"what others send") is None


def test_a_segment_on_another_udp_port_can_have_the_same_vni() -> None:
    other = SegmentKey(8472, 5000)
    ports = Ports(1, PORTS.tunnels | {(8472, H2): 4, (8472, H3): 5})
    frame = lines(list(flows.frame(ports, "default")))
    assert "0/1 in_port=4 → load:0x2118->NXM_NX_REG0[],resubmit(,2)" in frame
    assert "2/2 reg0=0x2118 → drop" in frame
    found = lines(list(flows.segment(held(2, other), ports, "default")))
    assert "2/3 reg0=0x2118,tun_id=0x1388 → mod_vlan_vid:2,output:1" in found
    keys = [flow.key for each in (held(), held(2, other)) for flow in flows.segment(each, ports, "default")]
    assert len(keys) == len(set(keys))


def test_tables_come_back_from_flows() -> None:
    both = [held(), held(2, SegmentKey(4789, 6000), learning=True, arp=Arp.FLOOD)]
    found = tables.wanted(both, PORTS, "default")
    seen = Flow(20, 1, f"vlan_tci=0x0002/0x0fff,dl_dst={C}", "load:0->NXM_OF_VLAN_TCI[],output:3", LEARNED | 6000)
    rows = flows.read([*found, seen], PORTS, "default")
    assert {tag: each.tables() for tag, each in rows.items()} == {each.tag: each.tables for each in both}
    assert rows[2].learned == [(C, H3)]
    assert rows[1].learned == []


def test_a_row_whose_tunnel_is_gone_leads_nowhere() -> None:
    found = tables.wanted([held()], PORTS, "default")
    rows = flows.read(found, Ports(1, {(4789, H3): 3}), "default")
    assert sorted(rows[1].fdb) == [(B, "::"), (C, H3)]


def test_other_peoples_flows_are_nothing_to_us() -> None:
    strange = [flow._replace(cookie=7) for flow in tables.wanted([held()], PORTS, "default")]
    other = [*flows.segment(held(), PORTS, "elsewhere")]
    assert flows.read([*strange, *other], PORTS, "default") == {}
    assert tables.own([*strange, *other], "default") == set()


def test_rows_are_changed_by_key() -> None:
    key = SegmentKey(4789, 5000)
    there = held().tables
    moved = tables.changed(there, PutRows(key, Table.FDB, t.fdb([(B, H3)])))
    assert t.text(Table.FDB, moved.fdb) == [(B, H3), (C, H3)]
    less = tables.changed(moved, DropRows(key, Table.FDB, t.fdb([(B, H2)])))
    assert t.text(Table.FDB, less.fdb) == [(C, H3)]
    assert less.neighbors is there.neighbors


def test_a_dump_is_read_as_it_is_printed() -> None:
    printed = (
        " cookie=0x1, priority=1,in_port=1 actions=resubmit(,1)\n"
        " cookie=0x7, table=20, hard_timeout=300, priority=1,vlan_tci=0x0001/0x0fff,dl_dst=02:00:00:00:00:0a"
        " actions=load:0->NXM_OF_VLAN_TCI[],output:3\n"
        " priority=0 actions=NORMAL\n"
        " table=5, in_port=1 actions=drop\n"
        " actions=learn(table=3),drop\n"
    )
    assert list(parse(printed)) == [
        Flow(0, 1, "in_port=1", "resubmit(,1)", 1),
        Flow(
            20,
            1,
            "vlan_tci=0x0001/0x0fff,dl_dst=02:00:00:00:00:0a",
            "load:0->NXM_OF_VLAN_TCI[],output:3",
            7,
            "hard_timeout=300",
        ),
        Flow(0, 0, "", "NORMAL"),
        Flow(5, 32768, "in_port=1", "drop"),
        Flow(0, 32768, "", "learn(table=3),drop"),
    ]
