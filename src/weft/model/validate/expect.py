"""Checks of `expect:` and `mutations:`: every name in them is declared, every number in its range."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from difflib import get_close_matches

from weft.model.address import VNI_MAX
from weft.model.intent import Intent
from weft.model.lab import MAC_NAMES, Heal, Kill, LabSpec, Move, Packets, Ping, Run, Step, Tables, Tcp, Trace
from weft.model.validate.problem import Path, Problem

_RANGES = {"vni": (0, VNI_MAX), "udp_port": (1, 65535), "ttl": (0, 255), "outer_ttl": (0, 255)}


class Names:
    """What the names of a lab stand for; in a step a port's name comes before a node's."""

    def __init__(self, intent: Intent, lab: LabSpec) -> None:
        self.nodes = intent.nodes.keys()
        self.ports = intent.ports.keys()
        self.networks = intent.networks.keys()
        self.routers = intent.routers.keys()
        self.segments = {segment.name for segment in lab.segments}
        routers = {router.name for router in lab.routers}
        externals = {host.name for host in lab.externals}
        self.hosts = self.nodes | routers
        self.ends = self.ports | self.nodes | externals
        gateways = {f"{node}/{router}" for node in intent.nodes for router in intent.routers}
        self.all = self.ends | routers | gateways


def step_problems(lab: LabSpec, names: Names) -> list[Problem]:
    found: list[Problem] = []
    for index, step in enumerate(lab.expect):
        found += _step(("expect", index), f"expect, step {index + 1}", step, names)
    return found


def mutation_problems(lab: LabSpec, names: Names) -> list[Problem]:
    found: list[Problem] = []
    for mutation in lab.mutations:
        path: Path = ("mutations", mutation.name)
        if not mutation.commands:
            what = f"mutation '{mutation.name}': breaks nothing"
            found.append(Problem(path, what, "write {HOST: [COMMAND]}"))
        for host in dict.fromkeys(host for host, _ in mutation.commands):
            if host not in names.all:
                what = f"mutation '{mutation.name}': unknown host '{host}'"
                found.append(Problem((*path, host), what, _known(host, names.all, "a node, port or underlay router")))
    return found


def _step(path: Path, subject: str, step: Step, names: Names) -> list[Problem]:
    match step.action:
        case Ping() as ping:
            return _ping((*path, "ping"), f"{subject}, ping", ping, names)
        case Tcp() as tcp:
            return _tcp((*path, "tcp"), f"{subject}, tcp", tcp, names)
        case Tables() as tables:
            return _tables((*path, "tables"), f"{subject}, tables", tables, names)
        case Run() as run:
            return _name((*path, "exec", "on"), f"{subject}, exec", run.on, names.all, "a port or a host")
        case Trace() as trace:
            return _trace((*path, "trace"), f"{subject}, trace", trace, names)
        case Kill(node=node) | Heal(node=node):
            what = "kill" if isinstance(step.action, Kill) else "heal"
            return _name((*path, what, "node"), f"{subject}, {what}", node, names.nodes, "a node")
        case Move() as move:
            return _move((*path, "move"), f"{subject}, move", move, names)
        case Packets() as packets:
            return _packets((*path, "packets"), f"{subject}, packets", packets, names)


def _known(word: str, known: Collection[str], what: str) -> str:
    close = get_close_matches(word, list(known), 1, 0.65) if len(known) <= 2000 else []
    return f"did you mean {close[0]}?" if close else f"name {what}"


def _name(path: Path, subject: str, name: str, known: Collection[str], what: str) -> list[Problem]:
    if name in known:
        return []
    return [Problem(path, f"{subject}: unknown name '{name}'", _known(name, known, what))]


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _ping(path: Path, subject: str, ping: Ping, names: Names) -> list[Problem]:
    found = _name((*path, "from"), subject, ping.source, names.ends, "a port or a node")
    if not _is_ip(ping.to):
        found += _name((*path, "to"), subject, ping.to, names.ends, "a port, a node, an external host or an IP")
    if not 1 <= ping.count <= 10_000:
        found.append(Problem((*path, "count"), f"{subject}: count {ping.count} is out of range", "choose 1 to 10000"))
    if ping.meanwhile:
        found += _step((*path, "meanwhile"), subject, Step(action=ping.meanwhile), names)
    if ping.size is not None and not 28 <= ping.size <= 65535:
        what = f"{subject}: size {ping.size} is out of range"
        found.append(Problem((*path, "size"), what, "choose 28 (the headers alone) to 65535 octets"))
    return found


def _trace(path: Path, subject: str, trace: Trace, names: Names) -> list[Problem]:
    found = _name((*path, "from"), subject, trace.source, names.ends, "a port or a node")
    if not _is_ip(trace.to):
        found += _name((*path, "to"), subject, trace.to, names.ends, "a port, a node, an external host or an IP")
    for index, via in enumerate(trace.via):
        if not _is_ip(via):
            found += _name((*path, "via", index), subject, via, names.nodes, "an IP or a node")
    return found


def _move(path: Path, subject: str, move: Move, names: Names) -> list[Problem]:
    found = _name((*path, "port"), subject, move.port, names.ports, "a port")
    return found + _name((*path, "node"), subject, move.node, names.nodes, "a node")


def _mac_name(path: Path, subject: str, value: str, names: Names) -> list[Problem]:
    """`port:NAME`, `gateway:ROUTER/NETWORK`, `irb:ROUTER/NETWORK/NODE`, `router:ROUTER/NODE`."""
    kind, _, rest = value.partition(":")
    if kind == "port":
        return _name(path, subject, rest, names.ports, "a port")
    parts = {"gateway": (names.routers, names.networks), "irb": (names.routers, names.networks, names.nodes)}
    known = parts.get(kind, (names.routers, names.nodes))
    words = rest.split("/")
    if len(words) != len(known):
        return [Problem(path, f"{subject}: '{value}' has {len(words)} names", f"write {len(known)} of them")]
    pairs = zip(words, known, strict=True)
    return [problem for word, those in pairs for problem in _name(path, subject, word, those, "one that is declared")]


def _tcp(path: Path, subject: str, tcp: Tcp, names: Names) -> list[Problem]:
    found = _name((*path, "from"), subject, tcp.source, names.ends, "a port or a node")
    found += _name((*path, "to"), subject, tcp.to, names.ends, "a port, a node or an external host")
    if not 1 <= tcp.port <= 65535:
        found.append(Problem((*path, "port"), f"{subject}: port {tcp.port} does not exist", "choose 1 to 65535"))
    if not 1 <= tcp.size <= 10**12:
        what = f"{subject}: {tcp.size} octets is out of range"
        found.append(Problem((*path, "bytes"), what, "choose 1 to 1TB"))
    return found


def _tables(path: Path, subject: str, tables: Tables, names: Names) -> list[Problem]:
    found = _name((*path, "node"), subject, tables.node, names.nodes, "a node")
    for table, rows in tables.rows.items():
        for index, row in enumerate(rows):
            for column, value in row.items():
                where = (*path, table, index, column)
                if value.startswith(MAC_NAMES):
                    found += _mac_name(where, subject, value, names)
                elif column == "network":
                    found += _name(where, subject, value, names.networks, "a network")
                elif column == "vtep" and not _is_ip(value):
                    found += _name(where, subject, value, names.nodes, "a node or an IP")
    return found


def _packets(path: Path, subject: str, packets: Packets, names: Names) -> list[Problem]:
    found: list[Problem] = []
    if packets.on != "underlay":
        where = packets.on if packets.on in names.segments else packets.on.partition("/")[0]
        known = names.segments | names.ends
        found += _name((*path, "on"), subject, where, known, "underlay, one of its segments, a port or HOST/DEVICE")
    for index, step in enumerate(packets.during):
        found += _step((*path, "during", index), f"{subject}, during", step, names)
    groups = {"in order": packets.in_order, "seen": packets.seen, "never": packets.never, "only": packets.only}
    for group, patterns in groups.items():
        for index, pattern in enumerate(patterns):
            found += _pattern((*path, group, index), subject, pattern, names)
    return found


def _pattern(path: Path, subject: str, pattern: Mapping[str, str], names: Names) -> list[Problem]:
    found: list[Problem] = []
    ends = {
        "outer": (names.hosts, "a node, an underlay router, an IP or *"),
        "inner": (names.ports, "a port, an IP or *"),
    }
    for key, (known, what) in ends.items():
        for end in pattern[key].split(">") if key in pattern else ():
            if end != "*" and not _is_ip(end):
                found += _name((*path, key), subject, end, known, what)
    for key in ("src_mac", "dst_mac", "outer_dst_mac"):
        value = pattern.get(key, "")
        if value.startswith(MAC_NAMES):
            found += _mac_name((*path, key), subject, value, names)
        elif value and ":" not in value:
            found += _name((*path, key), subject, value, names.hosts, "a node, an underlay router or a MAC")
    for key, (low, high) in _RANGES.items():
        if key in pattern and not low <= int(pattern[key]) <= high:
            what = f"{subject}: {key} {pattern[key]} is out of range"
            found.append(Problem((*path, key), what, f"choose {low} to {high}"))
    return found
