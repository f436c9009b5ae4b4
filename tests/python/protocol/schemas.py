"""The published JSON Schema: validation of messages, and all ways to break a message."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import render
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from player import Transcript

Json = dict[str, Any]

SCHEMA: Json = json.loads(
    (Path(__file__).parents[3] / "protocol" / "schema" / "backup-agent-1.json").read_text("utf-8")
)
DEFINITIONS: Json = SCHEMA["$defs"]
RESULTS: Json = DEFINITIONS["results"]["properties"]
SIDES = {">": "hostMessage", "<": "agentMessage"}

# The envelopes of messages, by method.
ENVELOPES: Json = {
    schema["title"]: schema for side in SIDES.values() for schema in DEFINITIONS[side]["anyOf"]
}

# Up to here integers are exact everywhere (M4).
MAX_EXACT = (1 << 53) - 1

# The codes for malformed requests.
BAD_REQUEST = {"invalid_request", "invalid_params", "method_not_found"}
BAD_CONFIG = {"invalid_config", "invalid_endpoint", "invalid_bucket_name"}

# A value of each type of JSON.
EXAMPLES: Json = {
    "null": None,
    "boolean": True,
    "integer": 7,
    "number": 0.5,
    "string": "?",
    "array": [],
    "object": {},
}


def messages(transcript: Transcript) -> Iterator[tuple[str, Json]]:
    """Yields direction and message of each line with a message."""
    for line in transcript.lines:
        if line.message:
            yield line.direction, render.example(line.message)


@functools.cache
def validator(pointer: str) -> Draft202012Validator:
    """Returns a validator for an entry of `$defs`, such as `results/properties/ping`."""
    return Draft202012Validator(SCHEMA | {"anyOf": [{"$ref": f"#/$defs/{pointer}"}]})


def problem(pointer: str, value: object) -> str | None:
    """Returns the schema's objection to a value; None if it is valid."""
    error = best_match(validator(pointer).iter_errors(value))
    return error and f"{error.json_path}: {error.message}"


class Session:
    """Validates the messages of one session, in order."""

    def __init__(self) -> None:
        self._methods = dict[int, str]()

    def method(self, direction: str, message: Json) -> str | None:
        """Returns the method of the message, or of the request that it answers."""
        number, method = message.get("id"), message.get("method")
        if direction == ">" and isinstance(number, int) and isinstance(method, str):
            self._methods.setdefault(number, method)
        return method or (self._methods.get(number) if isinstance(number, int) else None)

    def problem(self, direction: str, message: Json) -> str | None:
        return message_problem(direction, message, self.method(direction, message))


def message_problem(direction: str, message: Json, method: str | None) -> str | None:
    """Like `problem`, for a message; `method` is its own, or that of its request."""
    found = problem(SIDES[direction], message)
    if not found and "result" in message and method in RESULTS:
        found = problem(f"results/properties/{method}", message["result"])
    return found


def broken(direction: str, message: Json, method: str | None) -> Iterator[tuple[str, str, Json]]:
    """Yields the message with one change each: place, change, changed message."""
    title = message.get("method", "response")
    if title not in ENVELOPES:
        return
    for place, what, changed in _changes(ENVELOPES[title], message):
        if place:
            yield f"{title} {place}", what, changed
    if "result" in message and method in RESULTS:
        for place, what, changed in _changes(RESULTS[method], message["result"]):
            yield f"result of {method} {place}".rstrip(), what, message | {"result": changed}


def places() -> set[str]:
    """Returns every member of the schema, named as in `damaged`."""
    found = set[str]()
    for title, envelope in ENVELOPES.items():
        found |= {f"{title} {place}" for place in members(envelope)}
    for method, result in RESULTS.items():
        found |= {f"result of {method} {place}" for place in members(result)}
    return found


def members(schema: Json) -> dict[str, bool]:
    """Returns all members, such as `checks[].name`, and whether they are required."""
    found = dict[str, bool]()
    for branch in _branches(schema):
        required = branch.get("required", [])
        for name, inner in branch.get("properties", {}).items():
            found[name] = name in required
            found |= {f"{name}{_joined(place)}": it for place, it in members(inner).items()}
        if "items" in branch:
            found |= {f"[]{_joined(place)}": it for place, it in members(branch["items"]).items()}
    return found


def _resolved(schema: Json) -> Json:
    if "$ref" not in schema:
        return schema
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    target: Json = DEFINITIONS[schema["$ref"].removeprefix("#/$defs/")]
    return _resolved(target) | beside


def _branches(schema: Json) -> list[Json]:
    """Returns the alternatives of a schema, with references resolved."""
    schema = _resolved(schema)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if not choices:
        return [schema]
    base = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
    return [_both(base, branch) for choice in choices for branch in _branches(choice)]


def _both(base: Json, branch: Json) -> Json:
    properties = dict(base.get("properties", {}))
    for name, schema in branch.get("properties", {}).items():
        properties[name] = {**properties.get(name, {}), **schema}
    required = [*base.get("required", []), *branch.get("required", [])]
    both = base | branch
    return both | ({"properties": properties, "required": required} if properties else {})


def _types(schema: Json) -> set[str]:
    if "type" in schema:
        given = schema["type"]
        return set(given) if isinstance(given, list) else {given}
    if "const" in schema:
        return {name for name, value in EXAMPLES.items() if type(value) is type(schema["const"])}
    return set(EXAMPLES)


def _holds(schema: Json, value: object) -> bool:
    return Draft202012Validator({"$defs": DEFINITIONS, "allOf": [schema]}).is_valid(value)


def _changes(schema: Json, value: Any) -> Iterator[tuple[str, str, Any]]:
    branches = _branches(schema)
    types = set[str]().union(*map(_types, branches))
    for name, example in EXAMPLES.items():
        if name not in types and not (name == "integer" and "number" in types):
            yield "", name, example
    if any("const" in branch or "enum" in branch for branch in branches):
        yield "", "another value", "x-unknown"
    branch = next(branch for branch in branches if _holds(branch, value))
    if isinstance(value, dict):
        yield from _changed_members(branch, value)
    elif isinstance(value, list):
        if value and "items" in branch:
            for place, what, changed in _changes(branch["items"], value[0]):
                yield f"[]{place and '.'}{place}", what, [changed, *value[1:]]
        if branch.get("minItems"):
            yield "", "too short", []
    else:
        yield from _out_of_bounds(branch, value)


def _changed_members(schema: Json, value: Json) -> Iterator[tuple[str, str, Json]]:
    for name in schema.get("required", []):
        yield name, "left out", {key: member for key, member in value.items() if key != name}
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, member in value.items():
        inner = known.get(name, others)
        if isinstance(inner, dict):
            for place, what, changed in _changes(inner, member):
                here = name if name in known else "*"
                dot = "." if place and not place.startswith("[") else ""
                yield f"{here}{dot}{place}", what, value | {name: changed}


def _out_of_bounds(schema: Json, value: object) -> Iterator[tuple[str, str, object]]:
    match value:
        case bool() | None:
            pass
        case int():
            if "minimum" in schema:
                yield "", "too small", schema["minimum"] - 1
            if "maximum" in schema:
                is_general = schema["maximum"] == MAX_EXACT
                yield "", "not exact" if is_general else "too large", schema["maximum"] + 1
        case str():
            if schema.get("minLength"):
                yield "", "too short", ""
            if "maxLength" in schema:
                yield "", "too long", "x" * (schema["maxLength"] + 1)
            if "pattern" in schema:
                yield "", "not as the pattern", "Not A\tName/?"
            if "pattern" in schema.get("not", {}):
                yield "", "as the forbidden pattern", f"{value}\x07"


def _joined(place: str) -> str:
    return place if place.startswith("[") else f".{place}"
