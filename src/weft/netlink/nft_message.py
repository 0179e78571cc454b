"""What every nftables table of ours is said with: expressions, comments, and one transaction for several changes.

uapi/linux/netfilter/nf_tables.h; numbers inside nftables messages are big-endian.
"""

from __future__ import annotations

import errno
import struct

from weft.model.errors import Kind, WeftError
from weft.netlink import message as m
from weft.netlink.channel import NETLINK_NETFILTER, Channel
from weft.netlink.namespace import Namespace

SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 16, 17
NEWTABLE, DELTABLE, NEWCHAIN, GETCHAIN, DELCHAIN, NEWRULE, GETRULE, DELRULE = 0, 2, 3, 4, 5, 6, 7, 8
NEWSET, NEWSETELEM, GETSETELEM, DELSETELEM = 9, 12, 13, 14
INET, BRIDGE = 1, 7  # NFPROTO_…
IPV4, IPV6 = 2, 10
REG, VERDICT_REG = 1, 0
META_PROTOCOL, META_MARK, META_IIFNAME, META_OIFNAME, META_NFPROTO, META_L4PROTO = 1, 3, 6, 7, 15, 16
LINK_HEADER, NETWORK_HEADER, TRANSPORT_HEADER = 0, 1, 2
IFNAME_TYPE, IFNAME_LENGTH = 41, 16  # as `nft` numbers types
_EQUAL, _NOT_EQUAL = 0, 1
_DROP, _GOTO, _RETURN = 0, 0xFFFFFFFC, 0xFFFFFFFB
_GENERIC = struct.Struct(">BBH")  # struct nfgenmsg: family, version, resource id

ABSENT = frozenset({errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL})  # no such table; a kernel without nftables

Change = tuple[int, int, bytes]  # message type, NLM_F_…, attributes


def channel(where: str, namespace: Namespace) -> Channel:
    """A socket for one table; raises UNSUPPORTED on a kernel without nftables."""
    try:
        return Channel(NETLINK_NETFILTER, namespace)
    except OSError as error:
        what = f"this kernel does not speak nftables: {(error.strerror or '').lower()}"
        remedy = "load it with `modprobe nf_tables` (CONFIG_NF_TABLES_BRIDGE), or use `arp: flood`"
        raise WeftError(Kind.UNSUPPORTED, what, where=where, remedy=remedy) from error


def generic(family: int) -> bytes:
    return _GENERIC.pack(family, 0, 0)


def transact(channel: Channel, family: int, changes: list[Change]) -> None:
    """All or nothing: the messages between two marks, in one send. Raises NetlinkError.

    What is refused is answered before the send returns. Nothing else is: the answers to a hundred messages are more
    than a socket holds.
    """
    first = channel.sequence + 1
    mark = struct.pack(">BBH", 0, 0, 10)
    batch = [m.message(_BATCH_BEGIN, m.NLM_F_REQUEST, first, mark)]
    for number, (kind, flags, attributes) in enumerate(changes, first + 1):
        body = generic(family) + attributes
        batch.append(m.message(SUBSYSTEM | kind, m.NLM_F_REQUEST | flags, number, body))
    channel.sequence = first + len(changes) + 1
    batch.append(m.message(_BATCH_END, m.NLM_F_REQUEST, channel.sequence, mark))
    channel.socket.send(b"".join(batch))
    refused = [error for _, error in channel.errors()]
    if refused:
        raise refused[0]


def expression(name: str, attributes: bytes) -> bytes:
    return m.nested(1, m.text(1, name), m.nested(2, attributes))  # NFTA_LIST_ELEM { name, data }


def comment(name: str) -> bytes:
    """Rule user data as `nft` writes a comment: type 0, length, text."""
    return bytes([0, len(name) + 1]) + name.encode() + b"\0"


def comment_of(rule: m.Attributes) -> str:
    return m.to_text(rule.get(7, b"")[2:])


def meta(key: int, register: int = REG) -> bytes:
    return expression("meta", m.be32(1, register) + m.be32(2, key))


def compare(value: bytes, *, equal: bool = True) -> bytes:
    operator = _EQUAL if equal else _NOT_EQUAL
    return expression("cmp", m.be32(1, REG) + m.be32(2, operator) + m.nested(3, m.attribute(1, value)))


def masked(mask: bytes) -> bytes:
    """The register's bits under a mask."""
    places = m.be32(1, REG) + m.be32(2, REG) + m.be32(3, len(mask))
    values = m.nested(4, m.attribute(1, mask)) + m.nested(5, m.attribute(1, bytes(len(mask))))
    return expression("bitwise", places + values)


def ranged(first: bytes, last: bytes) -> bytes:
    data = m.nested(3, m.attribute(1, first)) + m.nested(4, m.attribute(1, last))
    return expression("range", m.be32(1, REG) + m.be32(2, _EQUAL) + data)


def payload(base: int, offset: int, length: int, register: int = REG) -> bytes:
    return expression("payload", m.be32(1, register) + m.be32(2, base) + m.be32(3, offset) + m.be32(4, length))


def load(value: bytes) -> bytes:
    return expression("immediate", m.be32(1, REG) + m.nested(2, m.attribute(1, value)))


NAMES_IN_HOST_ORDER = m.attribute(13, b"\0\4" + struct.pack("=I", 1))  # of a set of them, for `nft` to print it


def ifname(name: str) -> bytes:
    return name.encode().ljust(IFNAME_LENGTH, b"\0")


def drop() -> bytes:
    return _verdict(_DROP)


def leave() -> bytes:
    """Back to the calling chain, or to the hook's policy."""
    return _verdict(_RETURN)


def goto(chain: str) -> bytes:
    """The data of a verdict map's element: on to a chain, from which nothing comes back."""
    return m.nested(2, m.nested(2, m.be32(1, _GOTO), m.text(2, chain)))


def _verdict(code: int) -> bytes:
    return expression("immediate", m.be32(1, VERDICT_REG) + m.nested(2, m.nested(2, m.be32(1, code))))
