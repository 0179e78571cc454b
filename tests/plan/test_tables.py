"""Tables as arrays against the same thing done with dictionaries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.model.address import int_to_mac, ip_to_words, words_to_ip
from weft.plan import tables
from weft.plan.tables import Table, difference, text

macs = st.integers(1, 12).map(int_to_mac)
ips = st.one_of(
    st.integers(1, 6).map(lambda n: f"10.0.0.{n}"), st.integers(1, 6).map(lambda n: words_to_ip(0x20010DB8 << 32, n))
)


@given(st.lists(st.tuples(macs, ips)), st.lists(st.tuples(macs, ips)))
def test_fdb_difference_is_that_of_dictionaries(wanted: list[tuple[str, str]], actual: list[tuple[str, str]]) -> None:
    change = difference(Table.FDB, tables.fdb(wanted), tables.fdb(actual))
    want, have = dict(wanted), dict(actual)
    assert dict(text(Table.FDB, change.put)) == {mac: ip for mac, ip in want.items() if have.get(mac) != ip}
    assert dict(text(Table.FDB, change.drop)) == {mac: ip for mac, ip in have.items() if mac not in want}


@given(st.lists(st.tuples(ips, macs)), st.lists(st.tuples(ips, macs)))
def test_neighbor_difference_is_that_of_dictionaries(
    wanted: list[tuple[str, str]], actual: list[tuple[str, str]]
) -> None:
    change = difference(Table.NEIGHBORS, tables.neighbors(wanted), tables.neighbors(actual))
    want, have = dict(wanted), dict(actual)
    assert dict(text(Table.NEIGHBORS, change.put)) == {ip: mac for ip, mac in want.items() if have.get(ip) != mac}
    assert dict(text(Table.NEIGHBORS, change.drop)) == {ip: mac for ip, mac in have.items() if ip not in want}


@given(st.lists(ips), st.lists(ips))
def test_flood_difference_is_that_of_sets(wanted: list[str], actual: list[str]) -> None:
    change = difference(Table.FLOOD, tables.flood(wanted), tables.flood(actual))
    assert {ip for (ip,) in text(Table.FLOOD, change.put)} == set(wanted) - set(actual)
    assert {ip for (ip,) in text(Table.FLOOD, change.drop)} == set(actual) - set(wanted)


@given(st.lists(st.tuples(macs, ips)))
def test_a_table_is_sorted_and_the_last_row_of_a_key_stays(rows: list[tuple[str, str]]) -> None:
    table = tables.fdb(rows)
    assert [mac for mac, _ in text(Table.FDB, table)] == sorted(dict(rows))
    assert dict(text(Table.FDB, table)) == dict(rows)
    assert not len(difference(Table.FDB, table, table).put)


@given(
    st.lists(st.tuples(ips, macs), max_size=12),
    st.lists(ips, max_size=6),
    st.lists(st.tuples(ips, macs), max_size=6),
    st.booleans(),
)
def test_a_few_rows_are_replaced_as_in_a_dictionary(
    rows: list[tuple[str, str]], gone: list[str], more: list[tuple[str, str]], many: bool
) -> None:
    """The same whether rows are looked for one by one or all at once."""
    table, few = tables.neighbors(rows), tables._FEW
    tables._FEW = -1 if many else few
    try:
        drop = tables.neighbors((ip, "02:00:00:00:00:00") for ip in gone)
        found = tables.replaced(Table.NEIGHBORS, table, drop, tables.neighbors(more))
        asked = tables.chosen(Table.NEIGHBORS, table, (ip_to_words(ip) for ip in gone))
    finally:
        tables._FEW = few
    wanted = {ip: mac for ip, mac in dict(rows).items() if ip not in gone} | dict(more)
    assert dict(text(Table.NEIGHBORS, found)) == wanted
    assert found.tolist() == tables.neighbors(wanted.items()).tolist(), "in order"
    assert dict(text(Table.NEIGHBORS, asked)) == {ip: mac for ip, mac in dict(rows).items() if ip in gone}
