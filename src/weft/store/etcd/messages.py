"""What etcd's JSON gateway answers, as typed values.

etcd's api/etcdserverpb/rpc.proto in proto3's JSON form: 64-bit numbers are strings, bytes are base64, and what is zero
or empty is left out, so every field has a default. Errors are grpc-gateway's: message and gRPC code.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Header(msgspec.Struct, frozen=True):
    cluster_id: int = 0
    revision: int = 0
    raft_term: int = 0


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    key: bytes = b""
    value: bytes = b""
    mod_revision: int = 0
    lease: int = 0


class Answer(msgspec.Struct, frozen=True):
    """What every answer carries."""

    header: Header = Header()


class RangeAnswer(Answer, frozen=True):
    kvs: list[KeyValue] = []
    more: bool = False


class Done(msgspec.Struct, frozen=True):
    """One operation's answer in a transaction; only reads say anything."""

    response_range: RangeAnswer = RangeAnswer()


class TxnAnswer(Answer, frozen=True):
    succeeded: bool = False
    responses: list[Done] = []


class LeaseAnswer(Answer, frozen=True):
    ID: int = 0
    TTL: int = 0


class TokenAnswer(Answer, frozen=True):
    token: str = ""


class Fault(msgspec.Struct, frozen=True):
    """An error; streams say `grpc_code` where calls say `code`."""

    message: str = ""
    code: int = 0
    grpc_code: int = 0


class KeepAliveAnswer(msgspec.Struct, frozen=True):
    """One message of the keep-alive stream."""

    result: LeaseAnswer = LeaseAnswer()
    error: Fault | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    kv: KeyValue
    type: str = "PUT"


class Watched(Answer, frozen=True):
    watch_id: int = 0
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    fragment: bool = False
    events: list[Event] = []


class WatchAnswer(msgspec.Struct, frozen=True):
    """One message of a watch's stream."""

    result: Watched | None = None
    error: Fault | None = None


def decode(body: bytes, type_: type[T]) -> T:
    """Raises `msgspec.DecodeError` for anything that is no such message."""
    try:
        return msgspec.json.decode(body, type=type_, strict=False)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def text(raw: bytes) -> str:
    """Bytes as the gateway wants them."""
    return b64encode(raw).decode()
