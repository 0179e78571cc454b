"""Every mistake gets one clear line, with file and line: the table is mistakes.txt, read by people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weft.model.errors import Kind, WeftErrors
from weft.model.file import check, parse

TABLE = Path(__file__).with_name("mistakes.txt")


def cases() -> list[tuple[str, str, str]]:
    chunks = re.split(r"^# (.+)\n", TABLE.read_text().partition("\n\n")[2], flags=re.MULTILINE)[1:]
    return [
        (name, *(part.strip("\n") for part in re.split(r"^=>$", body + "\n=>\n", flags=re.MULTILINE)[:2]))  # type: ignore[misc]
        for name, body in zip(chunks[::2], chunks[1::2], strict=True)
    ]


def said(text: str, build: bool = False) -> str:
    with pytest.raises(WeftErrors) as caught:
        check(parse({"f": text}), build=build)
    assert all(error.kind is Kind.INVALID for error in caught.value.errors)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
def test_each_mistake_is_told_with_its_line(text: str, expected: str) -> None:
    assert said(text + "\n") == expected


BUILT = """\
nodes: {h1: {vtep: 10.0.0.1}, fabric: {vtep: 10.0.0.2}}
networks: {blue: {vni: 1, subnet: 10.1.1.0/24}}
routers:
  r: {gateways: {blue: 10.1.1.1}, placement: [h1], external: {h1: {interface: eth1, address: 50.1.1.254/24}}}
ports:
  a: {network: blue, node: fabric, attach: {interface: eth1}}
  b: {network: blue, node: h1, attach: {namespace: web}}
lab: {external: {h1.web: {node: h1, interface: eth2, address: 50.1.1.1/24}}}
"""


def test_what_cannot_be_built_as_a_lab_is_refused_there_alone() -> None:
    assert check(parse({"f": BUILT})).ports
    assert said(BUILT, build=True).splitlines() == [
        "f:1: node 'fabric': in a lab the lab's fabric has this name; choose another",
        "f:4: router 'r': in a lab eth1 of node 'h1' is its way to the underlay; name another device",
        "f:6: port 'a': in a lab eth1 of node 'fabric' is its way to the underlay; name another device",
        "f:8: external host 'h1.web': in a lab what stands behind port 'b' has this name; choose another",
    ]


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert sum(len(expected.splitlines()) for _, _, expected in cases()) > 120
