"""What the agent and the forwarder say to each other: values, and their framing on a unix stream socket.

Each message is its length (4 octets, big-endian) and a msgpack body (msgspec). A request has exactly one answer. A
connection that sent `Listen` is never asked again: it gets an `Alert` whenever something of ours changed by itself; one
that sent `Watch` gets `Overheard`.
Tables travel as the octets of their arrays; both ends are the same program on the same machine.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from weft.model.errors import Kind, WeftError
from weft.model.network import SegmentKey
from weft.plan.iptunnel import DropRoutes, DropTunnel, IpTunnel, PutRoutes, PutTunnel, TunnelOperation
from weft.plan.operations import DropPort, DropRows, DropSegment, Operation, PutPort, PutRows, PutSegment
from weft.plan.port import LocalPort
from weft.plan.segment import Segment
from weft.plan.tables import DTYPE, Rows, Table, Tables

VERSION = 1
PATIENCE = 5.0  # seconds without a word, not even to a ping, after which one who should speak is taken to hang
_LENGTH = struct.Struct("!I")
_LONGEST = 1 << 28
Alive = Callable[[], bool]


def never() -> bool:
    """Nobody is known to be alive."""
    return False


class WireRows(msgspec.Struct, frozen=True):
    """Rows of a table."""

    table: Table
    octets: bytes

    def rows(self) -> Rows:
        return np.frombuffer(self.octets, DTYPE[self.table])


class SetSegment(msgspec.Struct, frozen=True, tag=True):
    segment: Segment
    rebuild: bool


class UnsetSegment(msgspec.Struct, frozen=True, tag=True):
    key: SegmentKey


class SetPort(msgspec.Struct, frozen=True, tag=True):
    """`target`: what the port's namespace is called on this machine."""

    port: LocalPort
    target: str


class UnsetPort(msgspec.Struct, frozen=True, tag=True):
    port: LocalPort


class SetRows(msgspec.Struct, frozen=True, tag=True):
    key: SegmentKey
    rows: WireRows


class UnsetRows(msgspec.Struct, frozen=True, tag=True):
    key: SegmentKey
    rows: WireRows


class SetTunnel(msgspec.Struct, frozen=True, tag=True):
    tunnel: IpTunnel


class UnsetTunnel(msgspec.Struct, frozen=True, tag=True):
    device: str


class SetRoutes(msgspec.Struct, frozen=True, tag=True):
    device: str
    rows: WireRows


class UnsetRoutes(msgspec.Struct, frozen=True, tag=True):
    device: str
    rows: WireRows


TunnelStep = SetTunnel | UnsetTunnel | SetRoutes | UnsetRoutes
Step = SetSegment | UnsetSegment | SetPort | UnsetPort | SetRows | UnsetRows | TunnelStep


class Apply(msgspec.Struct, frozen=True, tag=True):
    steps: tuple[Step, ...]


class Observe(msgspec.Struct, frozen=True, tag=True):
    pass


class Inject(msgspec.Struct, frozen=True, tag=True):
    """Into tunnels, or to local ports; `to` None: all that are hosts', or those tunnels that its address leads to."""

    key: SegmentKey
    frame: bytes
    tunnels: bool
    to: str | None


class Count(msgspec.Struct, frozen=True, tag=True):
    pass


class Listen(msgspec.Struct, frozen=True, tag=True):
    """`workers`: how many an agent wishes; 0: whatever there is."""

    workers: int = 0


class Watch(msgspec.Struct, frozen=True, tag=True):
    """What is said in these segments (weft.l2.user.ears), from now on, over this connection alone."""

    segments: tuple[SegmentKey, ...]


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Answered at once, whatever else is being done."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    pass


Request = Apply | Observe | Inject | Count | Listen | Watch | Ping | Stop


class Failure(msgspec.Struct, frozen=True, tag=True):
    """`step`: which one of an Apply, -1 for the request itself."""

    kind: Kind
    what: str
    where: str
    remedy: str
    step: int = -1

    @staticmethod
    def of(error: WeftError | OSError, step: int = -1) -> Failure:
        if isinstance(error, OSError):
            return Failure(Kind.FAILED, (error.strerror or str(error)).lower(), "forwarder", "", step)
        return Failure(error.kind, error.what, error.where, error.remedy, step)

    def error(self) -> WeftError:
        return WeftError(self.kind, self.what, where=self.where, remedy=self.remedy)


class Done(msgspec.Struct, frozen=True, tag=True):
    failures: tuple[Failure, ...] = ()


class Held(msgspec.Struct, frozen=True, tag=True):
    """One segment of an answer to Observe; a flaw of the segment itself stands under port ""."""

    segment: Segment
    tables: tuple[WireRows, ...]
    learned: tuple[WireRows, ...]
    ports: tuple[LocalPort, ...]
    flaws: dict[str, tuple[str, ...]]


class HeldTunnel(msgspec.Struct, frozen=True, tag=True):
    """One IP tunnel of an answer to Observe."""

    tunnel: IpTunnel
    routes: WireRows
    flaws: tuple[str, ...]


class State(msgspec.Struct, frozen=True, tag=True):
    """`workers`: the processes that forward, 0 for one that nothing was placed on yet; `wished`: how many an agent
    would have, 0 where none has said.
    """

    segments: tuple[Held, ...]
    tunnels: tuple[HeldTunnel, ...] = ()
    workers: tuple[int, ...] = ()
    wished: int = 0


class Counts(msgspec.Struct, frozen=True, tag=True):
    ports: dict[str, tuple[int, int, int, int]]
    segments: tuple[tuple[SegmentKey, tuple[int, int, int, int]], ...]
    drops: dict[str, int]


class Alert(msgspec.Struct, frozen=True, tag=True):
    what: str
    key: SegmentKey | None


class Spoken(msgspec.Struct, frozen=True):
    """The beginning of a frame of a local port, or of one that a VTEP sent."""

    key: SegmentKey
    port: str | None
    frame: bytes
    vtep: str | None = None


class Note(msgspec.Struct, frozen=True):
    """As weft.l2.datapath.Heard."""

    key: SegmentKey
    mac: str
    port: str
    gone: bool = False
    fresh: bool = True


class Overheard(msgspec.Struct, frozen=True, tag=True):
    """What a connection that sent `Watch` is told."""

    frames: tuple[Spoken, ...]
    notes: tuple[Note, ...]


Answer = Done | Failure | State | Counts | Alert | Overheard

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_answers = msgspec.msgpack.Decoder(Answer)


def wire_tables(tables: Tables) -> tuple[WireRows, ...]:
    return tuple(WireRows(table, tables[table].tobytes()) for table in Table)


def plan_tables(rows: tuple[WireRows, ...]) -> Tables:
    return Tables(**{each.table.value: each.rows() for each in rows})


def step(operation: Operation, targets: dict[str, str]) -> Step:
    """`targets`: port name → its namespace's name on this machine."""
    match operation:
        case PutSegment(segment, _, rebuild):
            return SetSegment(segment, rebuild)
        case DropSegment(segment):
            return UnsetSegment(segment.key)
        case PutPort(port, _):
            return SetPort(port, targets.get(port.name, port.attach.target))
        case DropPort(port):
            return UnsetPort(port)
        case PutRows(SegmentKey() as key, table, rows):
            return SetRows(key, WireRows(table, rows.tobytes()))
        case DropRows(SegmentKey() as key, table, rows):
            return UnsetRows(key, WireRows(table, rows.tobytes()))
        case _:
            raise WeftError(Kind.UNSUPPORTED, "this layer has no routers", where=str(operation).splitlines()[0])


def tunnel_step(operation: TunnelOperation) -> TunnelStep:
    match operation:
        case PutTunnel(tunnel):
            return SetTunnel(tunnel)
        case DropTunnel(device):
            return UnsetTunnel(device)
        case PutRoutes(device, rows):
            return SetRoutes(device, WireRows(Table.ROUTES, rows.tobytes()))
        case DropRoutes(device, rows):
            return UnsetRoutes(device, WireRows(Table.ROUTES, rows.tobytes()))


def pack(message: Request | Answer) -> bytes:
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


def unpack_request(body: bytes | bytearray) -> Request:
    """Raises msgspec.DecodeError (and its ValidationError)."""
    request: Request = _requests.decode(body)
    return request


def unpack_answer(body: bytes | bytearray) -> Answer:
    """Raises msgspec.DecodeError (and its ValidationError)."""
    answer: Answer = _answers.decode(body)
    return answer


def body_length(head: bytes | bytearray) -> int:
    """How long the body behind these four octets is. Raises ValueError beyond all measure."""
    (length,) = _LENGTH.unpack(head)
    if length > _LONGEST:
        raise ValueError(f"a message of {length} octets")
    return int(length)


def messages(pending: bytearray) -> Iterator[Answer]:
    """Takes whole messages off what has come over a connection. Raises ValueError, msgspec.DecodeError."""
    while len(pending) >= _LENGTH.size:
        end = _LENGTH.size + body_length(pending[: _LENGTH.size])
        if len(pending) < end:
            return
        message = unpack_answer(pending[_LENGTH.size : end])
        del pending[:end]
        yield message


def ended(connection: socket.socket) -> bool:
    """Whether the other side has hung up, whatever is still to be read."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def receive(connection: socket.socket, alive: Alive = never) -> Answer | None:
    """The next answer; None when the other side hung up. Raises OSError, msgspec.DecodeError.

    Where the connection has a timeout, `alive` is asked whenever that has passed, and ends the waiting by False
    (TimeoutError).
    """
    head = exactly(connection, 4, alive)
    body = exactly(connection, body_length(head), alive) if head is not None else None
    return None if body is None else unpack_answer(body)


def exactly(connection: socket.socket, size: int, alive: Alive = never) -> bytes | None:
    """So many octets; None when the other side hung up. Raises as `receive`."""
    parts = bytearray()
    while len(parts) < size:
        try:
            more = connection.recv(min(size - len(parts), 1 << 20))
        except TimeoutError:
            if not alive():
                raise
            continue
        if not more:
            return None
        parts += more
    return bytes(parts)
