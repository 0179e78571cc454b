"""The file as a whole: what it means, several files together, and that no text does anything but parse or fail well."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.example_file import FULL
from weft.model.errors import Kind, WeftError, WeftErrors
from weft.model.file import check, parse
from weft.model.intent import Intent
from weft.model.lab import Packets, Ping, Tables, Tcp
from weft.model.network import Arp, FloodMode, Learning
from weft.model.port import Attach, AttachKind

NODE = "nodes: {h1: {vtep: 10.0.0.1}}\n"
NETWORK = "networks: {blue: {vni: 1, subnet: 10.1.1.0/24}}\n"


def test_a_network_and_a_port_need_little() -> None:
    document = parse({"f": NODE + NETWORK + "ports: {a: {network: blue, node: h1}}"})
    network, port = document.intent.networks["blue"], document.intent.ports["a"]
    assert (network.learning, network.flood, network.arp) == (
        Learning.CONTROL_PLANE,
        FloodMode.INGRESS_REPLICATION,
        Arp.SUPPRESS,
    )
    assert (network.udp_port, network.age, network.mtu) == (4789, 300, None)
    assert port.attach == Attach(kind=AttachKind.NAMESPACE, target="a", interface="eth0")
    assert (port.mac, port.ips, port.mobile, port.assigned) == ("", (), False, ())


def test_data_plane_learning_floods_arp_unless_told() -> None:
    document = parse({"f": "networks: {blue: {vni: 1, subnet: 10.1.1.0/24, learning: data-plane}}"})
    assert document.intent.networks["blue"].arp is Arp.FLOOD


def test_all_keys_of_the_grammar_are_read() -> None:
    document = parse({"labs/07-full.yaml": FULL})
    check(document)
    lab = document.lab
    assert lab.name == "07-full"
    assert [segment.mtu for segment in lab.segments] == [1500, 1400]
    assert lab.routers[0].segments == ("left", "right")
    assert lab.expect[0].action == Ping(source="a", to="b", size=1450, df=True)
    assert (lab.expect[0].within, lab.expect[3].negate) == (5.0, True)
    assert lab.expect[3].action == Tcp(source="a", to="b", size=100_000_000)
    assert isinstance(lab.expect[2].action, Packets)
    assert lab.expect[2].action.in_order[1]["broadcast"] == "false"
    assert lab.mutations[0].commands == (("h1", "ip link set x nolearning"), ("h1", "bridge fdb show"))
    assert [FULL.splitlines()[step.line - 1].strip()[:2] for step in lab.expect] == ["- "] * 9
    assert document.intent.networks["green"].age == 300
    assert document.intent.ports["a"].mac == "02:00:00:00:00:01"


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5), ("5s", 5), ("500ms", 0.5), ("1.5s", 1.5), ("2m", 120), ("1h", 3600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse({"f": f"expect: [{{exec: {{on: a, run: ls}}, within: {text}}}]"}).lab.expect[0].within == seconds


@pytest.mark.parametrize(
    ("text", "octets"), [("7", 7), ("1kB", 1000), ("100MB", 10**8), ("1GiB", 2**30), ("1.5K", 1500)]
)
def test_sizes(text: str, octets: int) -> None:
    action = parse({"f": f"expect: [{{tcp: {{from: a, to: b, bytes: {text}}}}}]"}).lab.expect[0].action
    assert isinstance(action, Tcp)
    assert action.size == octets


def test_addresses_in_steps_are_canonical_so_that_text_can_be_compared() -> None:
    steps = """expect:
  - ping: {from: a, to: 2001:DB8::0:1}
  - tables: {node: h1, fdb: [{mac: 02-00-00-00-00-0A, vtep: FF05::1}]}
  - packets:
      during: {ping: {from: a, to: b}}
      never: [{outer: "2001:DB8::0:1 > *", src_mac: 02-00-00-00-00-0A}]
"""
    ping, tables, packets = (step.action for step in parse({"f": steps}).lab.expect)
    assert isinstance(ping, Ping)
    assert isinstance(tables, Tables)
    assert isinstance(packets, Packets)
    assert ping.to == "2001:db8::1"
    assert tables.rows == {"fdb": ({"mac": "02:00:00:00:00:0a", "vtep": "ff05::1"},)}
    assert packets.never == ({"outer": "2001:db8::1>*", "src_mac": "02:00:00:00:00:0a"},)


def test_several_files_are_one_intent_and_errors_name_theirs() -> None:
    texts = {"nodes.yaml": NODE, "net.yaml": NETWORK, "ports.yaml": "\nports: {a: {network: blue, node: h2}}\n"}
    document = parse(texts)
    assert document.where(("networks", "blue", "vni")) == "net.yaml:1"
    with pytest.raises(WeftErrors) as caught:
        check(document)
    assert str(caught.value) == "ports.yaml:2: port 'a': unknown node 'h2'; declare it under `nodes:`"


def test_one_thing_in_two_files_is_refused() -> None:
    with pytest.raises(WeftErrors) as caught:
        parse({"a.yaml": NODE + "expect: []", "b.yaml": NODE + "\nmutations: {}"})
    assert str(caught.value).splitlines() == [
        "b.yaml:1: node 'h1' is declared in a.yaml:1 already; remove one",
        "b.yaml:3: `mutations` stands here, and a lab in a.yaml already; keep the lab's parts in one file",
    ]


def test_what_is_stored_counts_and_is_named() -> None:
    stored = parse({"f": NODE + NETWORK + "ports: {a: {network: blue, node: h1, ips: 10.1.1.9}}"}).intent
    more = parse({"g": "ports: {b: {network: blue, node: h1, ips: 10.1.1.8}}"})
    assert set(check(more, stored).ports) == {"a", "b"}
    narrower = parse({"g": "networks: {blue: {vni: 1, subnet: 10.1.2.0/24}}"})
    with pytest.raises(WeftErrors) as caught:
        check(narrower, stored)
    assert str(caught.value) == "stored: port 'a': 10.1.1.9 is outside network 'blue'; choose one of 10.1.2.0/24"


def test_the_answer_does_not_depend_on_the_order_of_files() -> None:
    texts = {"a": NODE, "b": NETWORK, "c": "ports: {a: {network: blue, node: h1}}"}
    one, other = parse(texts), parse(dict(reversed(texts.items())))
    assert one.intent == other.intent


def test_values_survive_the_way_to_the_store_and_back() -> None:
    document = parse({"f": FULL})
    intent = document.intent
    for value in [
        document.lab,
        *intent.nodes.values(),
        *intent.networks.values(),
        *intent.routers.values(),
        *intent.ports.values(),
    ]:
        assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_many_mistakes_of_one_kind_are_told_quickly_and_all() -> None:
    ports = "\n".join(f"  p{i}: {{network: blu{i}, node: h{i}}}" for i in range(3000))
    networks = "\n".join(f"  blue{i}: {{vni: {i + 1}, subnet: 10.1.1.0/24}}" for i in range(300))
    with pytest.raises(WeftErrors) as caught:
        check(parse({"f": f"networks:\n{networks}\nports:\n{ports}\n"}))
    assert len(caught.value.errors) == 6000


def survives(text: str) -> bool:
    """The one promise for any text: a document, or a WeftError whose every line is one line, in the text's order."""
    try:
        return isinstance(check(parse({"f": text}), Intent()), Intent)
    except WeftError as error:
        errors = error.errors if isinstance(error, WeftErrors) else [error]
        clear = all(one.kind is Kind.INVALID and "\n" not in str(one) and str(one) for one in errors)
        lines = [int(one.where.rpartition(":")[2]) for one in errors if ":" in one.where]
        return clear and lines == sorted(lines)


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused(text: str) -> None:
    assert survives(text)


WORDS = [
    *sorted(set(FULL.replace(":", " ").replace(",", " ").split())),
    "0", "-1", "99999999999999999999", "~", '""', "[]", "{}", "&a", "*a", "!!int", "\n", "  ",
    ":", "::", "1.5", "%", "a>b", "port:", "\\",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_file_parses_or_is_refused(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(80):
        text = FULL
        for _ in range(dice.randint(1, 4)):
            words = text.split(" ")
            at = dice.randrange(len(words))
            match dice.randrange(4):
                case 0:
                    words[at] = dice.choice(WORDS)
                case 1:
                    del words[at]
                case 2:
                    other = dice.randrange(len(words))
                    words[at], words[other] = words[other], words[at]
                case _:
                    words[at] = words[at][: dice.randint(0, len(words[at]))] + dice.choice("{}[],:>\n\t\x7f'\"é0")
            text = " ".join(words)
        assert survives(text), text


# Every scalar of the whole file in turn replaced by something of another form: no shape may let it through as it is.
@pytest.mark.parametrize("value", ["", "[x]", "{x: y}", "~", "-5", "999999999999", "'a\\nb'"])
def test_every_value_of_another_form_parses_or_is_refused(value: str) -> None:
    pieces = FULL.split(": ")
    for at in range(1, len(pieces)):
        head, piece = ": ".join(pieces[:at]), pieces[at]
        ends = [piece.find(end) for end in ",}]\n" if end in piece]
        text = ": ".join([head, f"{value}{piece[min(ends) :] if ends else ''}", *pieces[at + 1 :]])
        assert survives(text), text
