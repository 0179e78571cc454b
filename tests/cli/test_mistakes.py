"""SCENARIOS 13: each mistake gives one clear error with file and line, its exit code, and changes nothing stored."""

from __future__ import annotations

import asyncio

import pytest

from tests.cli.conftest import FLEET, Weft
from weft.model.node import DatapathKind, Facts
from weft.store import Put, open_store
from weft.store.records import Keys, encode

ROUTED = """\
networks:
  green: {vni: 7000, subnet: 10.1.1.0/24}
  grey: {vni: 7001, subnet: 10.2.0.0/24}
"""

# mistake → (file, line, words the message must have)
MISTAKES = {
    "a VNI twice": ("networks:\n  n: {vni: 5000, subnet: 10.9.0.0/24}\n", 2, ["5000", "blue"]),
    "VNI 0": ("networks:\n  n: {vni: 0, subnet: 10.9.0.0/24}\n", 2, ["VNI 0"]),
    "VNI 2^24": ("networks:\n  n: {vni: 16777216, subnet: 10.9.0.0/24}\n", 2, ["16777216", "24 bits"]),
    "overlapping subnets in a router": (
        ROUTED + "routers:\n  r:\n    gateways: {green: 10.1.1.1, blue: 10.1.1.2}\n",
        6,
        ["overlap"],
    ),
    "a gateway outside its subnet": (
        ROUTED + "routers:\n  r:\n    gateways: {grey: 10.3.0.1}\n",
        6,
        ["10.3.0.1", "10.2.0.0/24"],
    ),
    "an unknown node": ("ports:\n  p: {network: blue, node: h9}\n", 2, ["h9"]),
    "an unknown network": ("ports:\n  p: {network: bleu, node: h1}\n", 2, ["bleu"]),
    "an address twice": ("ports:\n  p: {network: blue, node: h1, ips: [10.1.1.12]}\n", 2, ["10.1.1.12", "'b'"]),
    "a MAC twice": ("ports:\n  p: {network: red, node: h2, mac: 02:00:00:00:00:0c}\n", 2, ["02:00:00:00:00:0c", "'c'"]),
    "a group that is not multicast": (
        "networks:\n  n:\n    vni: 9\n    subnet: 10.9.0.0/24\n    flood: {group: 10.0.0.1}\n",
        5,
        ["10.0.0.1", "multicast"],
    ),
    "an unknown key": ("networks:\n  n:\n    vni: 9\n    subnetz: 10.9.0.0/24\n", 4, ["subnetz", "subnet"]),
    "modes that do not go together": (
        "networks:\n  n: {vni: 9, subnet: 10.9.0.0/24, learning: data-plane, arp: suppress}\n",
        2,
        ["arp suppress", "data-plane"],
    ),
}


def picture(weft: Weft) -> tuple[int, tuple[object, ...]]:
    """Everything in the store, and its revision."""

    async def read() -> tuple[int, tuple[object, ...]]:
        store = open_store(weft.url)
        snapshot = await store.snapshot()
        await store.close()
        return snapshot.revision, snapshot.items

    return asyncio.run(read())


def put(weft: Weft, key: str, value: bytes) -> None:
    async def write() -> None:
        store = open_store(weft.url)
        await store.transact([], [Put(key, value)])
        await store.close()

    asyncio.run(write())


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_a_file(weft: Weft, mistake: str) -> None:
    text, line, words = MISTAKES[mistake]
    assert weft.apply(FLEET).code == 0
    before = picture(weft)
    answer = weft.apply(text, name="wrong.yaml")
    assert answer.code == 2, answer
    assert answer.out == ""
    first = answer.err.splitlines()[0]
    assert first.startswith(f"weft: wrong.yaml:{line}: "), answer.err
    assert all(word in answer.err for word in words), answer.err
    assert "; " in first, "no remedy"
    assert picture(weft) == before
    told = weft("diff", "-f", "wrong.yaml")
    assert (told.code, told.err) == (2, answer.err)


FACTS = Facts(
    node="h1",
    version="1",
    datapath=DatapathKind.KERNEL,
    interface="eth1",
    underlay_mtu=1500,
    addresses=("192.168.33.12",),
)


@pytest.mark.parametrize(
    ("facts", "text", "word"),
    [
        (
            Facts(node="h1", version="1", datapath=DatapathKind.KERNEL, addresses=("192.168.33.99",)),
            "ports:\n  p: {network: blue, node: h1}\n",
            "192.168.33.12",
        ),
        (FACTS, "networks:\n  blue: {vni: 5000, subnet: 10.1.1.0/24, mtu: 1451}\n", "1450"),
        (
            Facts(
                node="h1",
                version="1",
                datapath=DatapathKind.KERNEL,
                interface="eth1",
                underlay_mtu=1500,
                addresses=("192.168.33.12",),
                missing={"vxlan": "load the module with `modprobe vxlan`"},
            ),
            "ports:\n  p: {network: blue, node: h1}\n",
            "modprobe vxlan",
        ),
    ],
    ids=["VTEP not on the host", "MTU above the underlay's", "missing feature"],
)
def test_what_facts_contradict_is_refused(weft: Weft, facts: Facts, text: str, word: str) -> None:
    assert weft.apply(FLEET).code == 0
    put(weft, Keys().facts + "h1", encode(facts))
    before = picture(weft)
    answer = weft.apply(text, name="more.yaml")
    assert answer.code == 1, answer
    assert word in answer.err
    assert all(line.startswith("weft: ") for line in answer.err.splitlines()[:1])
    assert picture(weft) == before


def test_a_mistake_among_stored_objects_names_them(weft: Weft) -> None:
    weft.apply(FLEET)
    answer = weft.apply("networks:\n  blue: {vni: 5000, subnet: 10.7.0.0/24}\n", name="moved.yaml")
    assert answer.code == 2
    assert "weft: stored: port 'b': 10.1.1.12 is outside network 'blue'" in answer.err


@pytest.mark.parametrize(
    "command", [["apply", "-f", "fleet.yaml"], ["get", "nodes"], ["status"], ["delete", "node", "h1"]]
)
def test_a_store_that_cannot_be_reached(weft: Weft, command: list[str]) -> None:
    weft.file(FLEET)
    answer = weft(*command, "--store", "sqlite:///proc/nowhere/weft.db")
    assert answer.code == 1
    assert answer.err.startswith("weft: /proc/nowhere/weft.db: ")
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Commands:"),
        (["bogus"], "bogus"),
        (["apply"], "--file"),
        (["apply", "-f", "absent.yaml"], "absent.yaml: cannot be read"),
        (["get", "bananas"], "bananas"),
        (["get", "nodes", "-o", "xml"], "xml"),
        (["show", "bananas"], "fdb"),
        (["get", "nodes", "--cluster", "../x"], "cluster"),
        (["agent", "--node", "../../etc"], "../../etc"),
        (["get", "nodes", "--store", "http://x"], "http://x"),
    ],
)
def test_wrong_usage(weft: Weft, arguments: list[str], words: str) -> None:
    answer = weft(*arguments)
    assert answer.code == 2
    assert words in answer.err
    assert "Traceback" not in answer.err


def test_a_file_that_is_no_text(weft: Weft) -> None:
    (weft.directory / "binary.yaml").write_bytes(b"nodes:\n  \xff\xfe: {}\n")
    answer = weft("apply", "-f", "binary.yaml")
    assert answer.code == 2
    assert "UTF-8" in answer.err


def test_a_file_that_is_no_yaml(weft: Weft) -> None:
    answer = weft.apply("networks:\n  n: {vni: 9\n")
    assert answer.code == 2
    assert answer.err.startswith("weft: fleet.yaml:3: not YAML: ")
