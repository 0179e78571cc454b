"""The file's JSON Schema (draft 2020-12), for editors: `# yaml-language-server: $schema=weft.schema.json`.

Made from the shapes themselves, so it knows what they know. It is a little wider than `check`: names that must be
declared, and what must go together, a schema cannot say.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from weft.model.file import File


class _Schema(GenerateJsonSchema):
    """Without the titles that repeat each key's name: editors show the key anyway."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> dict[str, Any]:
    """JSON Schema of the file as plain values, ready for `json.dumps`."""
    body = File.model_json_schema(by_alias=True, schema_generator=_Schema)
    body.pop("title", None)
    for shape in body.get("$defs", {}).values():
        shape.pop("title", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Weft: networks in one file", **body}
