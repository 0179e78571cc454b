"""The bulk codec against pyroute2's encoding of the same rows, and back."""

from __future__ import annotations

import numpy as np
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from weft.netlink import neighbor as n
from weft.plan import tables
from weft.plan.tables import Table, text

MACS = ["02:00:00:00:00:0a", "02:00:00:00:00:0b", "fe:ff:ff:ff:ff:ff"]
FDB = tables.fdb([(MACS[0], "192.168.33.12"), (MACS[1], "fd00:33::13"), (MACS[2], "255.1.2.3")])
NEIGHBORS = tables.neighbors([("10.1.1.11", MACS[0]), ("fd01::12", MACS[1]), ("10.1.1.13", MACS[2])])


def pyroute2(kind: int, flags: int, sequence: int, fields: dict[str, int], attributes: list[tuple[str, str]]) -> bytes:
    message = ndmsg()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message["header"] = {"type": kind, "flags": flags, "sequence_number": sequence, "pid": 0}
    message.encode()
    return bytes(message.data)


def encoded(rows: tables.Rows, form: n.Form, first: int = 7) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for where, matrix in n.encode(rows, form):
        n.number(matrix, first)
        found |= {int(row): matrix[i].tobytes() for i, row in enumerate(where)}
        first += len(matrix)
    return found


def test_fdb_rows_are_what_pyroute2_encodes() -> None:
    state, ntf = n.NUD_NOARP | n.NUD_REACHABLE, n.NTF_SELF | n.NTF_MASTER
    found = encoded(FDB, n.Form(n.FDB, 5, 0x500, state, ntf))
    order = [0, 2, 1]  # IPv4 first
    for sequence, row in enumerate(order, 7):
        mac, vtep = text(Table.FDB, FDB)[row]
        fields = {"family": n.AF_BRIDGE, "ifindex": 5, "state": state, "flags": ntf, "ndm_type": 0}
        theirs = pyroute2(n.RTM_NEWNEIGH, 0x501, sequence, fields, [("NDA_DST", vtep), ("NDA_LLADDR", mac)])
        assert found[row].hex() == theirs.hex()


def test_neighbor_rows_are_what_pyroute2_encodes() -> None:
    found = encoded(NEIGHBORS, n.Form(n.NEIGHBOR, 9, 0x500, n.NUD_PERMANENT))
    assert len(found) == 3
    sequence = 7
    for family in (2, 10):
        for row, (ip, mac) in enumerate(text(Table.NEIGHBORS, NEIGHBORS)):
            if (":" in ip) != (family == 10):
                continue
            fields = {"family": family, "ifindex": 9, "state": n.NUD_PERMANENT, "flags": 0, "ndm_type": 0}
            theirs = pyroute2(n.RTM_NEWNEIGH, 0x501, sequence, fields, [("NDA_DST", ip), ("NDA_LLADDR", mac)])
            assert found[row].hex() == theirs.hex()
            sequence += 1


def test_rows_come_back_from_messages_of_mixed_shapes() -> None:
    octets = b"".join(encoded(FDB, n.Form(n.FDB, 5, 0x500, 0x42, n.NTF_SELF)).values())
    octets += b"".join(encoded(NEIGHBORS, n.Form(n.NEIGHBOR, 6, 0x500, 0x80)).values())
    rows = n.decode(octets * 3)
    assert len(rows) == 18
    assert set(rows["ifindex"].tolist()) == {5, 6}
    fdb = rows[rows["ifindex"] == 5][:3]
    out = np.empty(3, tables.FDB)
    out["mac"], out["vtep_high"], out["vtep_low"] = fdb["mac"], fdb["ip_high"], fdb["ip_low"]
    assert np.array_equal(tables.normalized(Table.FDB, out), FDB)
    assert set(rows[rows["ifindex"] == 5]["state"].tolist()) == {0x42}


def test_long_runs_are_found_whole_and_other_messages_are_passed_over() -> None:
    many = np.zeros(1000, tables.FDB)
    many["mac"] = np.arange(1000) + 1
    many["vtep_low"] = (0xFFFF << 32) | 1
    octets = b"".join(encoded(many, n.Form(n.FDB, 5, 0x500, 0x42, n.NTF_SELF)).values())
    done = bytes([20, 0, 0, 0, 3, 0, 2, 0]) + bytes(12)
    rows = n.decode(octets + done + octets)
    assert rows["mac"].tolist() == [*range(1, 1001), *range(1, 1001)]


def test_a_row_with_a_port_of_its_own_is_odd() -> None:
    fields = {"family": n.AF_BRIDGE, "ifindex": 5, "state": 0x42, "flags": 2, "ndm_type": 0}
    attributes = [("NDA_LLADDR", MACS[0]), ("NDA_DST", "10.0.0.1")]
    plain = pyroute2(n.RTM_NEWNEIGH, 0, 1, fields, attributes)
    odd = pyroute2(n.RTM_NEWNEIGH, 0, 1, fields, [*attributes, ("NDA_PORT", 1234)])  # type: ignore[list-item]
    assert n.decode(plain + odd)["odd"].tolist() == [False, True]
