"""The file: one or more YAML texts into intent and lab, each error with `file:line` and all of them at once.

Three steps: weft.model.yaml reads text into a tree that knows its lines, the shapes (grammar*.py) turn the tree into
values, `check` judges the values together with what is stored. Opening files is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from weft.model.errors import Kind, WeftError, WeftErrors
from weft.model.grammar import NetworkShape, NodeShape, PortShape, RouterShape
from weft.model.grammar_expect import StepShape
from weft.model.grammar_lab import LabShape, MutationShape
from weft.model.intent import Intent
from weft.model.lab import LabSpec, Mutation
from weft.model.node import Facts
from weft.model.scalar import Shape, nearest
from weft.model.validate import contradictions, problems
from weft.model.validate.lab import build_problems, lab_problems
from weft.model.validate.problem import Path, Problem
from weft.model.yaml import Map, Tree, line_of, read

KINDS = {"nodes": "node", "networks": "network", "routers": "router", "ports": "port", "mutations": "mutation"}
T = TypeVar("T")
_LAB_ONLY = ("lab", "expect", "mutations")
_or_nothing = BeforeValidator(lambda value: {} if value is None else value)
_or_no_steps = BeforeValidator(lambda value: [] if value is None else value)
Section = Annotated[dict[str, T], _or_nothing]


class File(Shape):
    """Weft's file: virtual networks over VXLAN, and the lab that shows them working."""

    nodes: Section[NodeShape] = Field(default={}, description="The hosts that take part, by name.")
    networks: Section[NetworkShape] = Field(default={}, description="The virtual networks, by name.")
    routers: Section[RouterShape] = Field(default={}, description="Gateways between networks and borders, by name.")
    ports: Section[PortShape] = Field(default={}, description="What is attached where, by name.")
    lab: Annotated[LabShape, _or_nothing] = Field(
        LabShape.model_validate({}), description="Read by `weft lab` only: what to build."
    )
    expect: Annotated[tuple[StepShape, ...], _or_no_steps] = Field(
        (), description="Read by `weft lab test` only: what must be true, in order."
    )
    mutations: Section[MutationShape] = Field(
        default={}, description="Read by tests of labs only: name → host → shell commands that break the lab."
    )


@dataclass(frozen=True, slots=True)
class Document:
    """What the texts said. `where` tells the line of any part: it takes a path such as ("ports", "a", "ips", 0)."""

    intent: Intent
    lab: LabSpec
    trees: dict[str, Tree] = field(default_factory=dict, repr=False, compare=False)

    def where(self, path: Path) -> str:
        """`file:line` of this part or of the nearest above it; "stored" where the texts lack the object."""
        for name, tree in self.trees.items():
            if isinstance(tree, Map) and path[0] in tree:
                section = tree[str(path[0])]
                if len(path) == 1 or path[0] in _LAB_ONLY or (isinstance(section, Map) and path[1] in section):
                    return f"{name}:{line_of(tree, _as_written(tree, path))}"
        return "stored"


def parse(texts: Mapping[str, str]) -> Document:
    """Values of all texts (file name → text), put together; raises WeftErrors (INVALID), sorted by line.

    This is the grammar alone: whether the values go together, and with what is stored, `check` says.
    """
    trees: dict[str, Tree] = {}
    errors: list[WeftError] = []
    files: dict[str, File] = {}
    for name, text in texts.items():
        try:
            trees[name] = read(text, name)
            files[name] = File.model_validate({} if trees[name] is None else trees[name])
        except WeftError as error:
            errors.append(error)
        except ValidationError as error:
            errors += _sorted(_told(name, trees[name], found) for found in error.errors(include_url=False))
    errors += _twice(trees)
    if errors:
        raise WeftErrors(errors)
    intent = Intent()
    for shape in files.values():
        intent = intent.merged(_intent(shape))
    return Document(intent, _lab(files, trees), trees)


def check(
    document: Document, stored: Intent | None = None, facts: Mapping[str, Facts] | None = None, build: bool = False
) -> Intent:
    """The stored intent with the document's put over it, found good; raises WeftErrors with all that is wrong.

    Kind INVALID where the file is to blame, REFUSED where only a node's facts speak against it. `build`: as a lab.
    """
    merged = (stored or Intent()).merged(document.intent)
    found = problems(merged) + lab_problems(document.lab, document.intent)
    if build:
        found += build_problems(document.lab, document.intent)
    kind = Kind.INVALID
    if not found and facts:
        found, kind = contradictions(merged, facts), Kind.REFUSED
    if found:
        raise WeftErrors(_sorted(_error(document, problem, kind) for problem in found))
    return merged


def _error(document: Document, problem: Problem, kind: Kind) -> WeftError:
    return WeftError(kind, _shown(problem.what), where=document.where(problem.path), remedy=_shown(problem.remedy))


def _shown(text: str) -> str:
    """One line, whatever names a file holds: control characters as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _sorted(errors: Iterable[WeftError]) -> list[WeftError]:
    def place(error: WeftError) -> tuple[str, int]:
        name, _, line = error.where.rpartition(":")
        return name, int(line) if line.isdigit() else 0

    return sorted(errors, key=place)


def _intent(shape: File) -> Intent:
    return Intent(
        {name: node.value(name) for name, node in shape.nodes.items()},
        {name: network.value(name) for name, network in shape.networks.items()},
        {name: router.value(name) for name, router in shape.routers.items()},
        {name: port.value(name) for name, port in shape.ports.items()},
    )


def _lab(files: dict[str, File], trees: dict[str, Tree]) -> LabSpec:
    """The lab of the file that has one, else of the first; its name is the file's stem."""
    told = [name for name, tree in trees.items() if isinstance(tree, Map) and any(key in tree for key in _LAB_ONLY)]
    name = next(iter(told or trees), "")
    if not name:
        return LabSpec(name="lab")
    shape, tree = files[name], trees[name]
    underlay = shape.lab.underlay
    return LabSpec(
        name=PurePath(name).stem,
        segments=tuple(segment.value(key) for key, segment in underlay.segments.items()),
        routers=tuple(router.value(key) for key, router in underlay.routers.items()),
        externals=tuple(host.value(key) for key, host in shape.lab.external.items()),
        flannel=shape.lab.flannel.value() if shape.lab.flannel else None,
        expect=tuple(step.value(line_of(tree, ("expect", i))) for i, step in enumerate(shape.expect)),
        mutations=tuple(
            Mutation(
                name=key,
                commands=tuple((host, command) for host, commands in hosts.items() for command in commands),
                line=line_of(tree, ("mutations", key)),
            )
            for key, hosts in shape.mutations.items()
        ),
    )


def _twice(trees: dict[str, Tree]) -> list[WeftError]:
    """Objects that two of the files declare, and lab parts that stand in more than one file."""
    errors: list[WeftError] = []
    first: dict[tuple[str, str], str] = {}
    lab = ""
    for name, tree in trees.items():
        if not isinstance(tree, Map):
            continue
        for section, kind in KINDS.items():
            things = tree.get(section)
            if not isinstance(things, Map) or section in _LAB_ONLY:
                continue
            for thing in things:
                other = first.setdefault((section, thing), f"{name}:{things.lines[thing]}")
                if not other.startswith(f"{name}:"):
                    where = f"{name}:{things.lines[thing]}"
                    what = f"{kind} '{thing}' is declared in {other} already"
                    errors.append(WeftError(Kind.INVALID, what, where=where, remedy="remove one"))
        told = next((key for key in _LAB_ONLY if key in tree), None)
        if told and lab:
            where = f"{name}:{tree.lines[told]}"
            what = f"`{told}` stands here, and a lab in {lab} already"
            errors.append(WeftError(Kind.INVALID, what, where=where, remedy="keep the lab's parts in one file"))
        lab = lab or (name if told else "")
    return errors


def _as_written(tree: Map, path: Path) -> Path:
    """A value's path in the words of the file: `subnets` may stand as `subnet`, a group under `flood`."""
    if len(path) > 2 and path[0] == "networks":
        network = tree["networks"][path[1]]
        if isinstance(network, Map) and path[2] not in network:
            return (*path[:2], {"subnets": "subnet", "group": "flood"}.get(str(path[2]), path[2]))
    return path


def _told(name: str, tree: Tree, found: ErrorDetails) -> WeftError:
    """A shape's complaint as one line: which thing, which key, what is wrong and what to write."""
    path: Path = tuple(part for part in found["loc"] if part != "[key]")
    kind, context = found["type"], found.get("ctx", {})
    remedy = ""
    if kind == "weft":
        what, remedy = context["what"], context["remedy"]
    elif kind == "missing":
        path, what, remedy = path[:-1], f"needs `{path[-1]}`", "add it"
    elif kind == "extra_forbidden":
        what, remedy = f"unknown key `{path[-1]}`", nearest(str(path[-1]), _keys(path[:-1]))
    elif found["input"] is None:
        what, remedy = "is empty", "write a value or leave the key out"
    elif kind in {"dict_type", "model_type", "model_attributes_type"}:
        what, remedy = "is not a mapping", "write it as {key: value, …} or indented below its name"
    elif kind in {"list_type", "tuple_type"}:
        what, remedy = "is not a list", "write it as [a, b]"
    else:
        what = found["msg"]
    where = f"{name}:{line_of(tree, found['loc'])}"
    shown = path[:-1] if kind == "extra_forbidden" else path
    subject = _subject(shown) if shown or kind != "extra_forbidden" else ""
    return WeftError(Kind.INVALID, _shown(f"{subject} {what}" if subject else what), where=where, remedy=_shown(remedy))


def _subject(path: Path) -> str:
    """`network 'blue', flood.group:` for ("networks", "blue", "flood", "group")."""
    if not path:
        return "the file"
    head = str(path[0])
    if head in KINDS and len(path) > 1:
        name, rest = f"{KINDS[head]} '{path[1]}'", path[2:]
    elif head == "expect" and len(path) > 1:
        name, rest = f"expect, step {int(path[1]) + 1}", path[2:]
    else:
        name, rest = head, path[1:]
    keys = ".".join(str(part) for part in rest)
    return f"{name}, {keys}:" if keys else f"{name}:"


def _keys(path: Path) -> list[str]:
    """The keys that the shape at this path knows."""
    shape: Any = File
    for part in path:
        if isinstance(shape, type) and issubclass(shape, BaseModel):
            fields = {item.alias or key: item.annotation for key, item in shape.model_fields.items()}
            shape = _shape(fields.get(str(part)))
        else:
            shape = _shape(get_args(shape)[-1 if get_origin(shape) is dict else 0]) if get_args(shape) else None
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return [item.alias or key for key, item in shape.model_fields.items()]
    return []


def _shape(annotation: Any) -> Any:
    """What is left of an annotation without its validators and alternatives of plain text."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _shape(arguments[0])
    if arguments and get_origin(annotation) not in {dict, tuple}:
        return next((found for item in arguments if (found := _shape(item)) not in {str, int, type(None)}), None)
    return annotation
