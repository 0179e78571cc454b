"""Open vSwitch's database: bridges, ports and interfaces as rows, changed in transactions (RFC 7047).

A change counts when ovs-vswitchd has taken it over: `commit` raises Open_vSwitch.next_cfg in the same transaction and
waits until cur_cfg has reached it, as ovs-vsctl does (ovs-vswitchd.conf.db(5)).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from weft.l2.ovs.rpc import Rpc
from weft.model.errors import Kind, WeftError

_DATABASE = "Open_vSwitch"
_PATIENCE = 10.0  # seconds that ovs-vswitchd gets to take over a change
_PAUSE = 0.002

Operation = dict[str, Any]


class Uuid(NamedTuple):
    """A row's name; `named`: one of the same transaction."""

    text: str
    named: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """`options` and `external_ids` as they stand; `ofport` None: vswitchd has not (or could not) open it: `error`."""

    uuid: Uuid
    name: str
    type: str
    options: dict[str, str]
    external_ids: dict[str, str]
    ofport: int | None
    error: str
    mac: str
    mtu_request: int | None


@dataclass(frozen=True, slots=True)
class Port:
    uuid: Uuid
    name: str
    tag: int | None
    external_ids: dict[str, str]
    interfaces: tuple[Interface, ...]
    protected: bool = False


@dataclass(frozen=True, slots=True)
class Bridge:
    uuid: Uuid
    name: str
    datapath_type: str
    fail_mode: str
    external_ids: dict[str, str]
    other_config: dict[str, str]
    ports: dict[str, Port] = field(default_factory=dict)


class Ovsdb:
    """One connection to the database at a unix socket."""

    def __init__(self, path: Path) -> None:
        self._rpc = Rpc(path)

    def close(self) -> None:
        self._rpc.close()

    def transact(self, *operations: Operation) -> list[Any]:
        """All or nothing. Raises FAILED with the database's own words."""
        results: list[Any] = self._rpc.call("transact", _DATABASE, *operations)
        for result in results:
            if isinstance(result, dict) and "error" in result:
                what = f"the database refused it: {result.get('details') or result['error']}"
                raise WeftError(Kind.FAILED, what, where="Open vSwitch")
        return results

    def commit(self, *operations: Operation) -> None:
        """A transaction that ovs-vswitchd has taken over when this returns. Raises WeftError."""
        if not operations:
            return
        mutation: Operation = {"op": "mutate", "table": _DATABASE, "where": [], "mutations": [["next_cfg", "+=", 1]]}
        read: Operation = {"op": "select", "table": _DATABASE, "where": [], "columns": ["next_cfg"]}
        results = self.transact(*operations, mutation, read)
        wanted = results[-1]["rows"][0]["next_cfg"]
        current: Operation = {"op": "select", "table": _DATABASE, "where": [], "columns": ["cur_cfg"]}
        deadline = time.monotonic() + _PATIENCE
        while self.transact(current)[0]["rows"][0]["cur_cfg"] < wanted:
            if time.monotonic() > deadline:
                what = f"ovs-vswitchd has not taken over a change in {_PATIENCE:g} s"
                raise WeftError(Kind.FAILED, what, where="Open vSwitch", remedy="is ovs-vswitchd running? see its log")
            time.sleep(_PAUSE)

    def bridges(self) -> dict[str, Bridge]:
        """All bridges with their ports, anybody's, in one reading."""
        tables = [_select("Bridge"), _select("Port"), _select("Interface")]
        bridges, ports, interfaces = ([_decoded(row) for row in found["rows"]] for found in self.transact(*tables))
        by_uuid = {row["_uuid"]: _interface(row) for row in interfaces}
        found = {
            row["_uuid"]: Port(
                row["_uuid"],
                row["name"],
                _one(row["tag"]),
                row["external_ids"],
                tuple(by_uuid[uuid] for uuid in _many(row["interfaces"]) if uuid in by_uuid),
                row["protected"],
            )
            for row in ports
        }
        return {row["name"]: _bridge(row, found) for row in bridges}

    def monitor(self, tables: Iterable[str]) -> None:
        """From now on `changed` tells when rows of these tables come, go or change in what people state of them."""
        columns = {"Bridge": ["name", "ports", "external_ids"]}
        columns["Port"] = ["tag", "protected", "external_ids", "interfaces"]
        columns["Interface"] = ["name", "type", "options", "ofport"]
        wanted = {table: [{"columns": columns[table], "select": {"initial": False}}] for table in tables}
        self._rpc.call("monitor", _DATABASE, None, wanted)

    def changed(self) -> bool | None:
        """Whether the monitor has told of anything since the last call; None where the database has gone."""
        if not self._rpc.poll():
            return None
        told = bool(self._rpc.notices)
        self._rpc.notices.clear()
        return told

    def fileno(self) -> int:
        return self._rpc.socket.fileno()


_COLUMNS = {
    "Bridge": ("name", "ports", "datapath_type", "fail_mode", "external_ids", "other_config"),
    "Port": ("name", "interfaces", "tag", "external_ids", "protected"),
    "Interface": ("name", "type", "options", "external_ids", "ofport", "error", "mac", "mtu_request"),
}


def _select(table: str) -> Operation:
    return {"op": "select", "table": table, "where": [], "columns": ["_uuid", *_COLUMNS[table]]}


def _bridge(row: dict[str, Any], ports: Mapping[Uuid, Port]) -> Bridge:
    mine = [ports[uuid] for uuid in _many(row["ports"]) if uuid in ports]
    return Bridge(
        row["_uuid"],
        row["name"],
        row["datapath_type"],
        _one(row["fail_mode"]) or "",
        row["external_ids"],
        row["other_config"],
        {port.name: port for port in mine},
    )


def _interface(row: dict[str, Any]) -> Interface:
    ofport = _one(row["ofport"])
    return Interface(
        row["_uuid"],
        row["name"],
        row["type"],
        row["options"],
        row["external_ids"],
        ofport if ofport and ofport > 0 else None,
        _one(row["error"]) or "",
        _one(row["mac"]) or "",
        _one(row["mtu_request"]),
    )


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {column: decode(value) for column, value in row.items()}


def decode(value: Any) -> Any:
    """A database value as Python's: a map as dict, a set as tuple, a uuid as Uuid."""
    if isinstance(value, list):
        kind, content = value
        if kind == "map":
            return {decode(key): decode(item) for key, item in content}
        if kind == "set":
            return tuple(decode(item) for item in content)
        return Uuid(content, kind == "named-uuid")
    return value


def encode(value: Any) -> Any:
    """Python's value as the database's."""
    if isinstance(value, Uuid):
        return ["named-uuid" if value.named else "uuid", value.text]
    if isinstance(value, Mapping):
        return ["map", [[encode(key), encode(item)] for key, item in value.items()]]
    if isinstance(value, tuple):
        return ["set", [encode(item) for item in value]]
    return value


def _one(value: Any) -> Any:
    """What a column of at most one value holds."""
    return (value[0] if value else None) if isinstance(value, tuple) and not isinstance(value, Uuid) else value


def _many(value: Any) -> tuple[Uuid, ...]:
    return (value,) if isinstance(value, Uuid) else value


# Operations


def update(table: str, uuid: Uuid, **columns: Any) -> Operation:
    row = {column: encode(value) for column, value in columns.items()}
    return {"op": "update", "table": table, "where": [["_uuid", "==", encode(uuid)]], "row": row}


def put_keys(table: str, uuid: Uuid, column: str, values: Mapping[str, str]) -> Operation:
    """Keys of a map column: set, whatever they were; others stay."""
    mutations = [[column, "delete", ["set", list(values)]], [column, "insert", encode(values)]]
    return _mutate(table, uuid, mutations)


def drop_keys(table: str, uuid: Uuid, column: str, keys: Iterable[str]) -> Operation:
    return _mutate(table, uuid, [[column, "delete", ["set", list(keys)]]])


def _mutate(table: str, uuid: Uuid, mutations: list[list[Any]]) -> Operation:
    return {"op": "mutate", "table": table, "where": [["_uuid", "==", encode(uuid)]], "mutations": mutations}


def add_bridge(name: str, internal: Mapping[str, Any], **columns: Any) -> list[Operation]:
    """A bridge with its own internal port; `internal`: columns of that port's interface."""
    label, bridge = _label(name), named(name)
    rows = _port_rows(name, {}, {"type": "internal", **internal})
    columns = {"name": name, "ports": Uuid(f"p{label}", True), **columns}
    rows.append(_insert("Bridge", f"b{label}", columns))
    insert = [["bridges", "insert", ["set", [encode(bridge)]]]]
    rows.append({"op": "mutate", "table": _DATABASE, "where": [], "mutations": insert})
    return rows


def named(bridge: str) -> Uuid:
    """A bridge that the same transaction adds."""
    return Uuid(f"b{_label(bridge)}", True)


def drop_bridge(bridge: Bridge) -> Operation:
    """The bridge; its rows of ports go with it, since nothing refers to them any more."""
    mutation = [["bridges", "delete", ["set", [encode(bridge.uuid)]]]]
    return {"op": "mutate", "table": _DATABASE, "where": [], "mutations": mutation}


def add_port(bridge: Uuid, name: str, port: Mapping[str, Any], interface: Mapping[str, Any]) -> list[Operation]:
    """A port with one interface of the same name."""
    rows = _port_rows(name, port, interface)
    rows.append(_mutate("Bridge", bridge, [["ports", "insert", ["set", [["named-uuid", f"p{_label(name)}"]]]]]))
    return rows


def drop_port(bridge: Uuid, port: Port) -> Operation:
    return _mutate("Bridge", bridge, [["ports", "delete", ["set", [encode(port.uuid)]]]])


def _port_rows(name: str, port: Mapping[str, Any], interface: Mapping[str, Any]) -> list[Operation]:
    label = _label(name)
    return [
        _insert("Interface", f"i{label}", {"name": name, **interface}),
        _insert("Port", f"p{label}", {"name": name, "interfaces": Uuid(f"i{label}", True), **port}),
    ]


def _insert(table: str, label: str, columns: Mapping[str, Any]) -> Operation:
    row = {column: encode(value) for column, value in columns.items()}
    return {"op": "insert", "table": table, "uuid-name": label, "row": row}


def _label(name: str) -> str:
    """A name that stands for a row within one transaction: letters, digits and `_` only."""
    return "_" + name.encode().hex()
