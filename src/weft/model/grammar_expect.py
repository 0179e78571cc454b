"""The shapes of `expect:`: steps, table rows and packet patterns. Read by `weft lab test` only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from weft.model.address import parse_ip, parse_mac
from weft.model.errors import WeftError
from weft.model.lab import MAC_NAMES, Heal, Kill, Move, Packets, Ping, Run, Step, Tables, Tcp, Trace
from weft.model.scalar import Duration, Shape, Size, Switch, Text, Whole, listed, one_of, plain, wrong

ACTIONS = ("ping", "tcp", "trace", "tables", "packets", "exec", "kill", "heal", "move")
TABLES = ("fdb", "flood", "arp", "routes", "ports", "links", "flows")


def _word(*known: str) -> BeforeValidator:
    return BeforeValidator(lambda value: one_of(plain(value), list(known)), json_schema_input_type=Literal[known])


def _mac_or_name(value: object) -> str:
    """A MAC in canonical text, or a name (`port:NAME` and its like, or a node's or underlay router's) as it stands."""
    text = plain(value)
    if text.startswith(MAC_NAMES):
        return text
    try:
        return parse_mac(text)
    except WeftError:
        if text.count(":") == 5:
            raise wrong(f"'{text}' is not a MAC address", "write it as 02:00:00:00:00:01 or port:NAME") from None
        return text


def _canonical(text: str, parse: Callable[[str], str]) -> str:
    try:
        return parse(text)
    except WeftError:
        return text


def _inner_mac(value: object) -> str:
    text = _mac_or_name(value)
    if ":" not in text:
        raise wrong(f"'{text}' is neither a MAC address nor a port's", "write it as 02:00:00:00:00:01 or port:NAME")
    return text


def _pair(value: object) -> str:
    text = plain(value)
    ends = [end.strip() for end in text.split(">")]
    if len(ends) != 2 or not all(ends):
        raise wrong(f"'{text}' is not a pair of source and destination", "write it as A>B, with * for any")
    return ">".join(_canonical(end, parse_ip) for end in ends)


Pair = Annotated[
    str, BeforeValidator(_pair, json_schema_input_type=str), Field(json_schema_extra={"pattern": "^[^>]+>[^>]+$"})
]
InnerMac = Annotated[str, BeforeValidator(_inner_mac, json_schema_input_type=str)]
OuterMac = Annotated[str, BeforeValidator(_mac_or_name, json_schema_input_type=str)]


class PatternShape(Shape):
    """What a packet on the underlay must be: every key that stands must hold."""

    arp: Annotated[str, _word("request", "reply", "any")] | None = Field(None, description="The inner frame is ARP.")
    nd: (
        Annotated[str, _word("solicitation", "advertisement", "router-solicitation", "router-advertisement", "any")]
        | None
    ) = Field(None, description="The inner packet is IPv6 neighbor discovery.")
    icmp: Annotated[str, _word("echo-request", "echo-reply", "too-big", "any")] | None = Field(
        None, description="The inner packet is ICMP or ICMPv6."
    )
    tcp: Annotated[str, _word("any")] | None = Field(None, description="The inner packet is TCP.")
    udp: Annotated[str, _word("any")] | None = Field(None, description="The inner packet is UDP.")
    outer: Pair | None = Field(
        None, description="Outer addresses: node or underlay router names, IPs, *.", examples=["h1>h2", "h1>239.1.1.1"]
    )
    inner: Pair | None = Field(
        None, description="Inner addresses: port names, IPs, *.", examples=["a>b", "*>10.1.1.11"]
    )
    vni: Whole | None = Field(None, description="The VXLAN header's VNI.")
    udp_port: Whole | None = Field(None, description="Outer UDP destination port.")
    ttl: Whole | None = Field(None, description="Inner TTL or hop limit.")
    outer_ttl: Whole | None = Field(None, description="Outer TTL or hop limit.")
    src_mac: InnerMac | None = Field(
        None,
        description="Inner source MAC: port:NAME, gateway:ROUTER/NETWORK, irb:…, router:… or a MAC.",
    )
    dst_mac: InnerMac | None = Field(None, description="Inner destination MAC, as for src_mac.")
    outer_dst_mac: OuterMac | None = Field(
        None, description="Outer destination MAC: a node's or underlay router's name, or a MAC."
    )
    plain: Switch | None = Field(None, description="true: the packet is in no tunnel, and all the rest is said of it.")
    broadcast: Switch | None = Field(None, description="Whether the inner destination MAC is ff:ff:ff:ff:ff:ff.")

    @model_validator(mode="after")
    def _one_protocol(self) -> PatternShape:
        told = [key for key in ("arp", "nd", "icmp", "tcp", "udp") if getattr(self, key) is not None]
        if len(told) > 1:
            raise wrong(f"is both {told[0]} and {told[1]}", "a packet is one of them: write two patterns")
        return self

    def value(self) -> dict[str, str]:
        told = self.model_dump(exclude_none=True)
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in told.items()}


def _rows(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _cell(value: object) -> str:
    """A column's value; MACs and IPs in canonical text, so that `02-00-…` and upper case match too."""
    return _canonical(_canonical(plain(value), parse_mac), parse_ip)


def _end(value: object) -> str:
    """A name, or an IP address in canonical text."""
    return _canonical(plain(value), parse_ip)


End = Annotated[str, BeforeValidator(_end, json_schema_input_type=str)]
Cell = Annotated[str, BeforeValidator(_cell, json_schema_input_type=str | int | bool)]
Rows = Annotated[tuple[dict[str, Cell], ...], BeforeValidator(_rows)]


class NodeEventShape(Shape):
    """Something that happens to a node."""

    node: Text = Field(description="The node.")


class MoveShape(Shape):
    """A port is declared on another node, and what stands behind it shows up there."""

    port: Text = Field(description="The port; it is attached to a namespace.")
    node: Text = Field(description="Where it goes.")


class MeanwhileShape(Shape):
    """One of: kill (off the underlay), heal (back on it), move."""

    kill: NodeEventShape | None = Field(None, description="The node falls off the underlay, as if its host had died.")
    heal: NodeEventShape | None = Field(None, description="The node is back on the underlay.")
    move: MoveShape | None = Field(None, description="A port moves to another node.")

    @model_validator(mode="after")
    def _one(self) -> MeanwhileShape:
        if sum(told is not None for told in (self.kill, self.heal, self.move)) != 1:
            raise wrong("is not one thing to happen", "write kill, heal or move")
        return self

    def value(self) -> Kill | Heal | Move:
        if self.move is not None:
            return Move(port=self.move.port, node=self.move.node)
        if self.kill is not None:
            return Kill(node=self.kill.node)
        return Heal(node=self.heal.node if self.heal else "")


class PingShape(Shape):
    """ICMP echo."""

    source: Text = Field(alias="from", description="A port or a node.")
    to: End = Field(description="A port, a node, an external host or an IP address.")
    count: Whole = Field(1, description="How many echo requests; one answer is enough.")
    size: Whole | None = Field(None, description="Octets of the whole inner IP packet.")
    df: Switch = Field(False, description="Don't fragment.")
    interval: Duration = Field(0.0, description="Time between requests; left out: each waits for its answer.")
    lose: Whole = Field(0, description="How many may go unanswered.")
    ttl: Whole | None = Field(None, description="TTL or hop limit that the answers arrive with.")
    meanwhile: MeanwhileShape | None = Field(None, description="What happens after a quarter of the requests.")

    def value(self) -> Ping:
        return Ping(
            source=self.source,
            to=self.to,
            count=self.count,
            size=self.size,
            df=self.df,
            interval=self.interval,
            lose=self.lose,
            ttl=self.ttl,
            meanwhile=self.meanwhile.value() if self.meanwhile else None,
        )


class TraceShape(Shape):
    """A traceroute: every router on the way, in order, by the address that it answers with."""

    source: Text = Field(alias="from", description="A port or a node.")
    to: End = Field(description="A port, a node, an external host or an IP address.")
    via: Annotated[tuple[End, ...], BeforeValidator(listed, json_schema_input_type=str | list[str])] = Field(
        (), description="Addresses; a node's name stands for its VTEP address."
    )

    def value(self) -> Trace:
        return Trace(source=self.source, to=self.to, via=self.via)


class TcpShape(Shape):
    """A TCP transfer, compared by checksum at the far end."""

    source: Text = Field(alias="from", description="A port or a node.")
    to: Text = Field(description="A port, a node or an external host.")
    bytes: Size = Field(1_000_000, description="How much: 100MB, 1GiB or octets.", examples=["100MB"])
    port: Whole = Field(5001, description="TCP port.", json_schema_extra={"minimum": 1, "maximum": 65535})

    def value(self) -> Tcp:
        return Tcp(source=self.source, to=self.to, size=self.bytes, port=self.port)


class TablesShape(Shape):
    """Rows that a node's datapath must hold; a row's keys are the columns of `weft show -o json`."""

    node: Text = Field(description="The node that holds the tables.")
    fdb: Rows | None = Field(None, description="MAC → VTEP.")
    flood: Rows | None = Field(None, description="Where BUM goes.")
    arp: Rows | None = Field(None, description="IP → MAC.")
    routes: Rows | None = Field(None, description="Routes of routers.")
    ports: Rows | None = Field(None, description="Attached ports.")
    links: Rows | None = Field(None, description="Devices of the datapath.")
    flows: Rows | None = Field(None, description="Flows of Open vSwitch's br-tun.")
    exactly: Switch = Field(False, description="No other rows in the networks that the patterns name.")

    @model_validator(mode="after")
    def _some(self) -> TablesShape:
        if not self.rows():
            raise wrong("names no table", f"write one of {', '.join(TABLES)}")
        return self

    def rows(self) -> dict[str, tuple[dict[str, str], ...]]:
        return {table: rows for table in TABLES if (rows := getattr(self, table)) is not None}

    def value(self) -> Tables:
        return Tables(node=self.node, rows=self.rows(), exactly=self.exactly)


class ExecShape(Shape):
    """A command that must exit 0."""

    on: Text = Field(description="A port, a node, an underlay router or an external host.")
    run: Text = Field(description="Shell words.")

    def value(self) -> Run:
        return Run(on=self.on, command=self.run)


class ActionShape(Shape):
    """A step that can also run under `packets`: one action, how long it may take, and whether it must fail."""

    ping: PingShape | None = Field(None, description="ICMP echo from one to another.")
    tcp: TcpShape | None = Field(None, description="A TCP transfer.")
    tables: TablesShape | None = Field(None, description="Rows that a node's datapath must hold.")
    exec: ExecShape | None = Field(None, description="A command that must exit 0.")
    trace: TraceShape | None = Field(None, description="Every router on the way.")
    kill: NodeEventShape | None = Field(None, description="A node falls off the underlay, as if its host had died.")
    heal: NodeEventShape | None = Field(None, description="A node is back on the underlay.")
    move: MoveShape | None = Field(None, description="A port moves to another node.")
    within: Duration = Field(0.0, description="It may take this long to become true.", examples=["5s", "500ms", 2])
    negate: Switch = Field(False, alias="not", description="It must not come true.")

    @model_validator(mode="after")
    def _one_action(self) -> ActionShape:
        told = [key for key in ACTIONS if getattr(self, key, None) is not None]
        if len(told) != 1:
            what = f"does both {told[0]} and {told[1]}" if told else "does nothing"
            raise wrong(what, f"a step is one of {', '.join(ACTIONS)}, with `within` and `not` beside it")
        return self

    def value(self, line: int = 0) -> Step:
        if self.kill or self.heal or self.move:
            happening = MeanwhileShape(kill=self.kill, heal=self.heal, move=self.move).value()
            return Step(action=happening, within=self.within, negate=self.negate, line=line)
        action = next(shape for key in ACTIONS if (shape := getattr(self, key, None)) is not None)
        return Step(action=action.value(), within=self.within, negate=self.negate, line=line)


def _steps(value: Any) -> Any:
    steps = _rows(value)
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, dict) and "packets" in step:
            raise wrong("`packets` cannot run during `packets`", "write another step")
    return steps


Patterns = Annotated[tuple[PatternShape, ...], BeforeValidator(_rows)]


class PacketsShape(Shape):
    """What must be seen on the underlay while the steps of `during` run."""

    on: Text = Field("underlay", description="underlay, one segment of it by name, a port or HOST/DEVICE.")
    during: Annotated[
        tuple[ActionShape, ...], BeforeValidator(_steps, json_schema_input_type=ActionShape | list[ActionShape])
    ] = Field(description="The step or steps that make the packets.")
    in_order: Patterns = Field((), alias="in order", description="These, in this order; others may stand between.")
    seen: Patterns = Field((), description="These, in any order.")
    never: Patterns = Field((), description="None of these.")
    only: Patterns = Field((), description="Every VXLAN packet matches one of these.")

    @model_validator(mode="after")
    def _some(self) -> PacketsShape:
        if not self.during:
            raise wrong("`during` is empty", "write the step that makes the packets")
        if not (self.in_order or self.seen or self.never or self.only):
            raise wrong("asks for nothing", "write `in order`, `seen`, `never` or `only`")
        return self

    def value(self) -> Packets:
        return Packets(
            on=self.on,
            during=tuple(step.value() for step in self.during),
            in_order=tuple(pattern.value() for pattern in self.in_order),
            seen=tuple(pattern.value() for pattern in self.seen),
            never=tuple(pattern.value() for pattern in self.never),
            only=tuple(pattern.value() for pattern in self.only),
        )


class StepShape(ActionShape):
    """One expectation: one action, with `within` and `not` beside it."""

    packets: PacketsShape | None = Field(None, description="What must and must not be seen on the underlay.")
