"""`weft schema`: the file's JSON Schema, for editors that complete and check while one types."""

from __future__ import annotations

from weft.cli import output


def command() -> None:
    """Print the JSON Schema of the file, for editors.

    For one that speaks to yaml-language-server: `weft schema > weft.schema.json`, and in the file's first line
    `# yaml-language-server: $schema=weft.schema.json`.
    """
    from weft.model.schema import schema

    output.say_json(schema())
