"""Validators for answers, from OpenAI's published description."""

import functools
import json

import jsonschema
import referencing
import referencing.jsonschema


def _nullable(node):
    """OpenAPI 3.0's `nullable: true`, which the document still uses in places, as JSON Schema says it."""
    if isinstance(node, list):
        return [_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _nullable(value) for key, value in node.items()}
    if node.pop("nullable", False):
        return {"anyOf": [node, {"type": "null"}]}
    return node


@functools.cache
def validator(path, name):
    document = _nullable(json.loads(path.read_text()))
    resource = referencing.Resource(contents=document, specification=referencing.jsonschema.DRAFT202012)
    registry = referencing.Registry().with_resource("openai", resource)
    return jsonschema.Draft202012Validator({"$ref": f"openai#/components/schemas/{name}"}, registry=registry)
