"""YAML text into plain mappings, lists and text that know their lines.

Built from parser events (libyaml's where PyYAML has it) with a stack of our own, so that no nesting in a file can
exhaust Python's or C's. Scalars stay text: what `no`, `10:20` or a MAC of digits means is for the grammar to say, not
for YAML 1.1's guesses (yaml.org/type/bool.html, /int.html). Only plain `null`, `~` and nothing are None. Refused:
duplicate keys, tags, merge keys, several documents in a file, nesting deeper than `DEPTH_MAX`, and aliases that
contain themselves or blow the text up by more than `ALIASED_MAX` values.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import yaml

from weft.model.errors import Kind, WeftError

DEPTH_MAX = 32
ALIASED_MAX = 10_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})


class Map(dict[str, Any]):
    """A mapping, the line it starts in and the line of each of its keys (from 1)."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


class Seq(list[Any]):
    """A list, the line it starts in and the line of each of its members."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: list[int] = []


Tree: TypeAlias = "Map | Seq | str | None"


def read(text: str, name: str) -> Tree:
    """The one document in `text`, None where it is empty; raises INVALID with `name:line`, the first error only."""
    builder = _Builder(name)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        remedy = "indent with spaces" if "'\\t'" in (error.problem or "") else ""
        where = f"{name}:{mark.line + 1}" if mark else name
        raise WeftError(Kind.INVALID, f"not YAML: {error.problem}", where=where, remedy=remedy) from None
    except (yaml.YAMLError, UnicodeError):  # a reader error: it tells no line
        raise WeftError(
            Kind.INVALID, "not YAML: a character that no text holds", where=name, remedy="save it as UTF-8 text"
        ) from None
    return builder.root


def line_of(tree: Tree, path: tuple[str | int, ...]) -> int:
    """The line of what `path` leads to, or of the nearest thing above that is there."""
    line = tree.line if isinstance(tree, Map | Seq) else 1
    for part in path:
        if isinstance(tree, Map) and part in tree:
            key = str(part)
            line, tree = tree.lines[key], tree[key]
        elif isinstance(tree, Seq) and isinstance(part, int) and part < len(tree):
            line, tree = tree.lines[part], tree[part]
        else:
            break
    return line


class _Builder:
    """Takes events one by one. `open` holds the collections not yet closed; a mapping's pending key is in `keys`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: Tree = None
        self.documents = 0
        self.open: list[Map | Seq] = []
        self.keys: list[str | None] = []
        self.names: list[str | None] = []  # the anchor of each open collection
        self.anchors: dict[str, tuple[Tree, int]] = {}  # with how many values it stands for
        self.sizes: list[int] = []
        self.aliased = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.ScalarEvent):
            self._plain(event, line)
            plain = event.style is None or event.style == ""
            value = None if plain and event.value in _NULL else event.value
            if event.anchor:
                self.anchors[event.anchor] = (value, 1)
            self._add(value, line, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._plain(event, line)
            self._open(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            done, size, anchor = self.open.pop(), self.sizes.pop(), self.names.pop()
            self.keys.pop()
            if anchor:
                self.anchors[anchor] = (done, size)
            if self.sizes:
                self.sizes[-1] += size
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise self._error(line, "a second document", "one document a file: remove the `---`")

    def _open(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if len(self.open) >= DEPTH_MAX:
            raise self._error(line, f"nested deeper than {DEPTH_MAX} levels", "nothing in a file needs that")
        new = Map(line) if isinstance(event, yaml.MappingStartEvent) else Seq(line)
        if self.open and isinstance(self.open[-1], Map) and self.keys[-1] is None:
            raise self._error(line, "a key that is not text", "keys are words")
        self.anchors.pop(event.anchor or "", None)  # until it ends, nothing may refer to it
        self._add(new, line, 0)
        self.open.append(new)
        self.keys.append(None)
        self.names.append(event.anchor)
        self.sizes.append(1)

    def _add(self, value: Tree, line: int, size: int) -> None:
        if not self.open:
            self.root = value
            return
        parent = self.open[-1]
        self.sizes[-1] += size
        if isinstance(parent, Seq):
            parent.append(value)
            parent.lines.append(line)
            return
        key = self.keys[-1]
        if key is None:
            self.keys[-1] = self._key(parent, value, line)
        else:
            parent[key] = value
            self.keys[-1] = None

    def _key(self, parent: Map, value: Tree, line: int) -> str:
        if not isinstance(value, str):
            raise self._error(line, "a key that is not text", "keys are words")
        if value == "<<":
            raise self._error(line, "merge keys (`<<`) are not read", "write the keys out")
        if value in parent.lines:
            raise self._error(line, f"'{value}' stands twice, first in line {parent.lines[value]}", "remove one")
        parent.lines[value] = line
        return value

    def _alias(self, event: yaml.AliasEvent, line: int) -> None:
        if event.anchor not in self.anchors:
            raise self._error(line, f"*{event.anchor} refers to nothing that ends before it", "write the value out")
        value, size = self.anchors[event.anchor]
        self.aliased += size
        if self.aliased > ALIASED_MAX:
            raise self._error(line, f"aliases repeat more than {ALIASED_MAX} values", "write the values out")
        self._add(value, line, size)

    def _plain(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None and event.tag != "!":
            raise self._error(line, f"tags such as {event.tag} are not read", "leave the tag out")

    def _error(self, line: int, what: str, remedy: str) -> WeftError:
        return WeftError(Kind.INVALID, what, where=f"{self.name}:{line}", remedy=remedy)
