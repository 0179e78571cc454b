"""A node plan as flows of br-tun. Pure: values in, flows in the very words in which `ovs-ofctl dump-flows` prints them.

    table 0    by port: from br-int → 1, from a tunnel → 2
    table 1    unicast → 20, broadcast and multicast → 21; ARP and ND of a suppressed segment → 22, where in proxy mode
               nobody answers; of one that is relayed they are dropped
    table 2    from tunnels: the tunnel id becomes the segment's local tag, the source is learned into 20 (data-plane
               learning), and the frame goes to br-int and nowhere else: never from one tunnel into another. ARP of a
               segment that is relayed goes to nobody but who punts it
    table 20   (tag, MAC) → tunnel: priority 2 programmed, 1 learned; unknown: → 21, dropped where ARP is suppressed
    table 21   one copy into every tunnel of the segment's flood list
    table 22   ARP answered from neighbor rows (RFC 826), the rest dropped; a solicitation becomes an advertisement → 23
    table 23   ND answered from neighbor rows (RFC 4861, section 7.2.4), the rest dropped

A segment on another UDP port than 4789 can have the VNI of one that is there: its tunnels mark register 0 with the
port. Cookies tell whose a flow is: 16 bits "we" (put) or "wl" (learned), 24 bits of the cluster, 24 bits VNI.
ovs-fields(7), ovs-actions(7).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from weft.model.address import UDP_PORT_VXLAN, is_mac
from weft.model.network import Arp, SegmentKey
from weft.plan import tables
from weft.plan.segment import Segment
from weft.plan.tables import Table, Tables, text

CONTROLLER = int.from_bytes(b"we", "big")  # the controller id of who punts what tunnels bring
OWNER_MASK = 0xFFFF_FFFF_FF00_0000
_ND_TYPES = range(133, 138)
_IN, _TO_TUNNEL, _FROM_TUNNEL, _UNICAST, _FLOOD, _ARP, _ND = 0, 1, 2, 20, 21, 22, 23
_MARK = "NXM_NX_REG0[]"
_TUNNEL_ID = "NXM_NX_TUN_ID[]"
_LONGEST = 256  # octets of a frame that are punted
_TOLD = struct.Struct(">HI")  # UDP port and VNI, which a punted frame brings along
_UNKNOWN = "::"  # the VTEP of a row that leads into no tunnel of ours

TunnelPort = tuple[int, str]  # (UDP port, remote VTEP)


class Flow(NamedTuple):
    """`match` and `actions` as printed; `timeouts` as "hard_timeout=300". Sorts as tables read."""

    table: int
    priority: int
    match: str
    actions: str
    cookie: int = 0
    timeouts: str = ""

    @property
    def key(self) -> str:
        """What names a flow among all: two flows never share it."""
        match = f",{self.match}" if self.match else ""
        return f"table={self.table},priority={self.priority}{match}"

    def __str__(self) -> str:
        timeouts = f"{self.timeouts}," if self.timeouts else ""
        return f"cookie={self.cookie:#x},{timeouts}{self.key},actions={self.actions}"


def owner(cluster: str, learned: bool = False) -> int:
    """The upper 40 bits of a cookie of this cluster's."""
    mark = b"wl" if learned else b"we"
    return int.from_bytes(mark + hashlib.blake2s(cluster.encode(), digest_size=3).digest(), "big") << 24


def speaker(cluster: str) -> str:
    """The MAC that questions of our own come from; what is answered to it enters no tunnel."""
    digest = hashlib.blake2s(f"speaker {cluster}".encode(), digest_size=5).digest()
    return (b"\x02" + digest).hex(":")


@dataclass(frozen=True, slots=True)
class Ports:
    """OpenFlow port numbers of br-tun: the patch to br-int, and the tunnels by UDP port and remote VTEP."""

    patch: int
    tunnels: Mapping[TunnelPort, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """A segment as the switch holds it: `tag` stands for it between br-int and br-tun; `local`: MACs of its ports."""

    segment: Segment
    tag: int
    tables: Tables
    local: frozenset[str] = frozenset()


def frame(ports: Ports, cluster: str, programmed: bool = True) -> Iterator[Flow]:
    """What stands whatever segments there are; `programmed`: one of them is filled by the control plane.

    These flows are the canary as well: a switch without them was started anew.
    """
    mine = owner(cluster)
    yield Flow(_IN, 1, f"in_port={ports.patch}", _to(_TO_TUNNEL), mine)
    for (udp_port, _), number in sorted(ports.tunnels.items()):
        mark = "" if udp_port == UDP_PORT_VXLAN else f"load:{udp_port:#x}->{_MARK},"
        yield Flow(_IN, 1, f"in_port={number}", f"{mark}{_to(_FROM_TUNNEL)}", mine)
    for table in (_IN, _FROM_TUNNEL, _FLOOD):
        yield Flow(table, 0, "", "drop", mine)
    for udp_port in sorted({port for port, _ in ports.tunnels} - {UDP_PORT_VXLAN}):
        yield Flow(_FROM_TUNNEL, 2, f"reg0={udp_port:#x}", "drop", mine)
    yield Flow(_TO_TUNNEL, 0, "dl_dst=00:00:00:00:00:00/01:00:00:00:00:00", _to(_UNICAST), mine)
    yield Flow(_TO_TUNNEL, 0, "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", _to(_FLOOD), mine)
    yield Flow(_UNICAST, 0, "", _to(_FLOOD), mine)
    if programmed:
        yield from _answering(cluster, mine)


def _answering(cluster: str, mine: int) -> Iterator[Flow]:
    for table in (_ARP, _ND):
        yield Flow(table, 0, "", "drop", mine)
    yield Flow(_TO_TUNNEL, 4, f"dl_dst={speaker(cluster)}", "drop", mine)
    # duplicate address detection asks from no address, and must not be told of the asker's own
    yield Flow(_ARP, 2, "icmp6,ipv6_src=::,icmp_type=135", "drop", mine)
    yield Flow(_ARP, 1, "icmp6,icmp_type=135", f"load:0x88->NXM_NX_ICMPV6_TYPE[],{_to(_ND)}", mine)


def segment(held: Held, ports: Ports, cluster: str) -> Iterator[Flow]:
    """A segment's own flows: how it behaves, and a flow or two for every row of its tables."""
    mine = owner(cluster) | held.segment.key.vni
    yield from _behaviour(held, ports, cluster, mine)
    into = _into(held)
    known = set()
    for mac, vtep in text(Table.FDB, held.tables.fdb):
        known.add(mac)
        number = ports.tunnels.get((held.segment.key.udp_port, vtep))
        if number is not None:
            yield Flow(_UNICAST, 2, f"dl_vlan={held.tag},dl_dst={mac}", f"{into},output:{number}", mine)
    remotes = [(held.segment.key.udp_port, vtep) for (vtep,) in text(Table.FLOOD, held.tables.flood)]
    outputs = ",".join(f"output:{ports.tunnels[remote]}" for remote in remotes if remote in ports.tunnels)
    if outputs:
        yield Flow(_FLOOD, 1, f"dl_vlan={held.tag}", f"{into},{outputs}", mine)
    for ip, mac in text(Table.NEIGHBORS, held.tables.neighbors):
        yield _responder(held.tag, ip, mac, mac in known, mine)


def _behaviour(held: Held, ports: Ports, cluster: str, mine: int) -> Iterator[Flow]:
    key, tag = held.segment.key, held.tag
    plain = key.udp_port == UDP_PORT_VXLAN
    arriving = f"tun_id={key.vni:#x}" if plain else f"reg0={key.udp_port:#x},tun_id={key.vni:#x}"
    learn = _learn(held.segment, cluster) + "," if held.segment.learning else ""
    yield Flow(_FROM_TUNNEL, 1 if plain else 3, arriving, f"mod_vlan_vid:{tag},{learn}output:{ports.patch}", mine)
    if held.segment.relayed:
        told = _TOLD.pack(key.udp_port, key.vni).hex(".")
        punt = f"strip_vlan,controller(max_len={_LONGEST},id={CONTROLLER},userdata={told})"
        yield Flow(_FROM_TUNNEL, 5, f"arp,{arriving}", f"mod_vlan_vid:{tag},{learn}{punt}", mine)
    if not held.segment.learning:
        for mac in sorted(held.local):  # who forges a local source must not draw its frames into a tunnel
            yield Flow(_FROM_TUNNEL, 4, f"{arriving},dl_src={mac}", "drop", mine)
    for stay in held.segment.anycast:
        for match in _about(stay):
            yield Flow(_TO_TUNNEL, 5, match.replace("TAG", f"dl_vlan={tag}"), "drop", mine)
    if held.segment.arp is not Arp.FLOOD:
        answered = "drop" if held.segment.relayed else _to(_ARP)
        yield Flow(_TO_TUNNEL, 2, f"arp,dl_vlan={tag}", answered, mine)
        for kind in _ND_TYPES:
            yield Flow(_TO_TUNNEL, 2, f"icmp6,dl_vlan={tag},icmp_type={kind}", answered, mine)
        if not held.segment.learning:
            yield Flow(_UNICAST, 1, f"dl_vlan={tag}", "drop", mine)


def segment_told(userdata: bytes) -> SegmentKey | None:
    """The segment that a punted frame came through, by what the flow that sent it tells."""
    return SegmentKey(*_TOLD.unpack(userdata)) if len(userdata) == _TOLD.size else None


def _about(stay: str) -> tuple[str, ...]:
    """What concerns a distributed gateway: frames from and to its MAC, ARP and ND about its addresses."""
    if is_mac(stay):
        return f"TAG,dl_src={stay}", f"TAG,dl_dst={stay}"
    if ipaddress.ip_address(stay).version == 4:
        return f"arp,TAG,arp_tpa={stay}", f"arp,TAG,arp_spa={stay}"
    return tuple(f"icmp6,TAG,icmp_type={kind},icmp_code=0,nd_target={stay}" for kind in (135, 136))


def _learn(segment: Segment, cluster: str) -> str:
    """`strip_vlan` cannot be learned: loading 0 into the whole tag takes it off as well."""
    cookie = owner(cluster, learned=True) | segment.key.vni
    return (
        f"learn(table={_UNICAST},hard_timeout={segment.age},priority=1,cookie={cookie:#x},NXM_OF_VLAN_TCI[0..11],"
        f"NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],load:{_TUNNEL_ID}->{_TUNNEL_ID},"
        "output:NXM_OF_IN_PORT[])"
    )


def _into(held: Held) -> str:
    return f"strip_vlan,load:{held.segment.key.vni:#x}->{_TUNNEL_ID}"


def _responder(tag: int, ip: str, mac: str, remote: bool, mine: int) -> Flow:
    """The answer for a neighbor row; one who is local answers for himself, and is only noted."""
    dots, number = mac.replace(":", "."), f"{int(mac.replace(':', ''), 16):#x}"
    address = ipaddress.ip_address(ip)
    if address.version == 4:
        answer = (
            f"move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],mod_dl_src:{mac},load:0x2->NXM_OF_ARP_OP[],"
            "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],move:NXM_OF_ARP_SPA[]->NXM_OF_ARP_TPA[],"
            f"load:{number}->NXM_NX_ARP_SHA[],load:{int(address):#x}->NXM_OF_ARP_SPA[],IN_PORT"
        )
        match = f"arp,dl_vlan={tag},arp_tpa={ip},arp_op=1"
        return Flow(_ARP, 1, match, answer if remote else f"note:{dots}", mine)
    low, high = int(address) & 0xFFFF_FFFF_FFFF_FFFF, int(address) >> 64
    answer = (
        f"move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],mod_dl_src:{mac},move:NXM_NX_IPV6_SRC[]->NXM_NX_IPV6_DST[],"
        f"load:{_hex(low)}->NXM_NX_IPV6_SRC[0..63],load:{_hex(high)}->NXM_NX_IPV6_SRC[64..127],"
        "load:0x60000000->ERICOXM_OF_ICMPV6_ND_RESERVED[],load:0x2->ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE[],"
        f"load:{number}->NXM_NX_ND_TLL[],IN_PORT"
    )
    match = f"icmp6,dl_vlan={tag},icmp_type=136,nd_target={ip}"
    return Flow(_ND, 1, match, answer if remote else f"note:{dots}", mine)


def _hex(number: int) -> str:
    return f"{number:#x}" if number else "0"


def _to(table: int) -> str:
    return f"resubmit(,{table})"


# Back from flows to tables

_FDB_MATCH = re.compile(r"(?:dl_vlan=(\d+)|vlan_tci=0x([0-9a-f]+)/0x[01]fff),dl_dst=([0-9a-f:]{17})")
_OUTPUT = re.compile(r"output:(\d+)")
_NEIGHBOR = re.compile(
    r"(?:arp|icmp6),dl_vlan=(\d+),(?:arp_tpa=([0-9.]+),arp_op=1|icmp_type=136,nd_target=([0-9a-f:.]+))"
)
_ANSWER = re.compile(r"(?:mod_dl_src:|note:)([0-9a-f:.]{17})")


@dataclass(slots=True)
class Rows:
    """Rows of one tag, gathered from flows."""

    fdb: list[tuple[str, str]] = field(default_factory=list)
    neighbors: list[tuple[str, str]] = field(default_factory=list)
    flood: list[str] = field(default_factory=list)
    learned: list[tuple[str, str]] = field(default_factory=list)

    def tables(self) -> Tables:
        return Tables(tables.fdb(self.fdb), tables.neighbors(self.neighbors), tables.flood(self.flood))


def read(flows: Iterable[Flow], ports: Ports, cluster: str) -> dict[int, Rows]:
    """What flows of ours say, by tag. A row whose tunnel is not there has the VTEP `::`."""
    mine, learned = owner(cluster), owner(cluster, learned=True)
    vteps = {number: vtep for (_, vtep), number in ports.tunnels.items()}
    found: dict[int, Rows] = {}
    for flow in flows:
        whose = flow.cookie & OWNER_MASK
        if whose not in (mine, learned):
            continue
        if flow.table == _UNICAST and (seen := _FDB_MATCH.fullmatch(flow.match)):
            tag = int(seen[1]) if seen[1] else int(seen[2], 16) & 0xFFF
            (vtep,) = [*_vteps(flow, vteps), _UNKNOWN][:1]
            rows = found.setdefault(tag, Rows())
            (rows.fdb if whose == mine else rows.learned).append((seen[3], vtep))
        elif flow.table == _FLOOD and flow.match.startswith("dl_vlan="):
            found.setdefault(int(flow.match[8:]), Rows()).flood += _vteps(flow, vteps)
        elif flow.table in (_ARP, _ND) and (seen := _NEIGHBOR.fullmatch(flow.match)):
            mac = _ANSWER.search(flow.actions)
            ip = str(ipaddress.ip_address(seen[2] or seen[3]))
            answered = mac[1].replace(".", ":") if mac else "00:00:00:00:00:00"
            found.setdefault(int(seen[1]), Rows()).neighbors.append((ip, answered))
    return found


def _vteps(flow: Flow, vteps: Mapping[int, str]) -> list[str]:
    return [vteps.get(int(number), _UNKNOWN) for number in _OUTPUT.findall(flow.actions)]


def row(flow: Flow) -> bool:
    """Whether a flow stands for a row of a table; the others say how a segment behaves."""
    return (flow.table == _FLOOD and flow.priority == 1) or bool(
        flow.table in (_UNICAST, _ARP, _ND) and (_FDB_MATCH.fullmatch(flow.match) or _NEIGHBOR.fullmatch(flow.match))
    )


def segments_of(key: SegmentKey) -> str:
    """The external-ids key under which br-tun remembers a segment."""
    return f"weft-segment/{key.udp_port}/{key.vni}"
