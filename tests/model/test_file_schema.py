"""The schema for editors agrees with the grammar: what `parse` takes validates, what has the wrong form does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.model.example_file import FULL
from weft.model.errors import WeftError
from weft.model.file import check, parse
from weft.model.schema import schema
from weft.model.yaml import read

LABS = sorted((Path(__file__).resolve().parents[2] / "labs").glob("*.yaml"))
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": type(None),
}


def core(value: Any) -> Any:
    """Values as an editor sees them: YAML 1.2's core schema."""
    if isinstance(value, dict):
        return {key: core(item) for key, item in value.items()}
    if isinstance(value, list):
        return [core(item) for item in value]
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+\.[0-9]*", value):
        return float(value)
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def faults(shape: dict[str, Any], value: Any, root: dict[str, Any], path: str = "") -> list[str]:
    """The part of JSON Schema that ours uses, and nothing else: an unknown word is a fault of the test."""
    known = {
        "$ref",
        "anyOf",
        "type",
        "enum",
        "properties",
        "additionalProperties",
        "required",
        "items",
        "pattern",
        "minimum",
        "maximum",
    }
    known |= {"description", "default", "examples", "$defs", "$schema", "title", "const"}
    assert set(shape) <= known, set(shape) - known
    if "$ref" in shape:
        return faults(root["$defs"][shape["$ref"].rpartition("/")[2]], value, root, path)
    if "anyOf" in shape and all(faults(one, value, root, path) for one in shape["anyOf"]):
        return [f"{path}: matches no alternative"]
    kind = TYPES.get(shape.get("type", ""))
    if kind and (not isinstance(value, kind) or (isinstance(value, bool) and shape["type"] != "boolean")):
        return [f"{path}: not a {shape['type']}"]
    found = []
    if "enum" in shape and value not in shape["enum"]:
        found.append(f"{path}: not one of the words")
    if isinstance(value, int | float) and not shape.get("minimum", value) <= value <= shape.get("maximum", value):
        found.append(f"{path}: out of range")
    if isinstance(value, str) and not re.search(shape.get("pattern", ""), value):
        found.append(f"{path}: not the pattern")
    if isinstance(value, dict) and kind is dict:
        found += [f"{path}: needs {key}" for key in shape.get("required", ()) if key not in value]
        for key, item in value.items():
            inner = shape.get("properties", {}).get(key, shape.get("additionalProperties", {}))
            found += [f"{path}: unknown {key}"] if inner is False else faults(inner or {}, item, root, f"{path}/{key}")
    if isinstance(value, list) and kind is list:
        found += [
            fault for i, item in enumerate(value) for fault in faults(shape.get("items", {}), item, root, f"{path}/{i}")
        ]
    return found


def test_the_schema_is_json_with_a_title_and_says_what_every_key_is() -> None:
    body = schema()
    assert json.loads(json.dumps(body)) == body
    assert body["title"] == "Weft: networks in one file"
    shapes = [body, *body["$defs"].values()]
    silent = [key for shape in shapes for key, item in shape["properties"].items() if not item.get("description")]
    assert silent == []
    assert all(shape["additionalProperties"] is False for shape in shapes)


def test_a_file_with_every_key_validates() -> None:
    body = schema()
    assert faults(body, core(read(FULL, "f")), body) == []


@pytest.mark.parametrize("text", [
    "nodse: {}",
    "nodes: {h1: {}}",
    "nodes: {h1: {vtep: 10.0.0.1, datapath: kernal}}",
    "networks: {blue: {vni: 0, subnet: 10.1.1.0/24}}",
    "networks: {blue: {vni: 16777216, subnet: 10.1.1.0/24}}",
    "networks: {blue: {vni: 1, subnet: 10.1.1.0/24, flood: group}}",
    "networks: {blue: {vni: 1, subnet: 10.1.1.0/24, mtu: 70000}}",
    "ports: {a: {network: blue, node: h1, attach: vlan}}",
    "ports: {a: {network: blue, node: h1, attach: {vlan: 1}}}",
    "expect: [{pong: {}}]",
    "expect: [{packets: {during: {ping: {from: a, to: b}}, never: [{arp: replay}]}}]",
    "expect: [{packets: {during: {ping: {from: a, to: b}}, never: [{outer: a}]}}]",
])  # fmt: skip
def test_what_is_refused_for_its_form_does_not_validate(text: str) -> None:
    body = schema()
    assert faults(body, core(read(text, "f")), body) != []
    with pytest.raises(WeftError):
        check(parse({"f": text}))


def test_every_lab_validates_and_parses() -> None:
    body = schema()
    for path in LABS:
        text = path.read_text()
        assert faults(body, core(read(text, path.name)), body) == [], path
        check(parse({path.name: text}))
    assert all(path.suffix == ".yaml" for path in LABS)
