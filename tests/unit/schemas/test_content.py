"""What is sealed within a record names its schema; bodies from before it did are still read as such."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.codec import CONTENT_MARK, HEADER_BYTES, Codec, CodecError
from schemas.definitions import definitions, topics_of, versions
from schemas.registry import FileRegistry
from tests.contract.strategies import records

REGISTRY = FileRegistry()
CODEC = Codec(REGISTRY)
# Everything that travels in a record's ``sealed``.
CONTENTS = sorted(name for name in definitions() if name.endswith("Content") and not topics_of(name))
FEW = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def first_bytes(node: Any) -> Iterator[str]:
    """The kinds of node that a value's first byte may belong to."""
    if isinstance(node, list):
        yield "union"
    elif isinstance(node, str):
        yield node
    elif node["type"] == "record":
        yield from first_bytes(node["fields"][0]["type"])
    else:
        yield from first_bytes(node["type"])


@pytest.mark.parametrize("name", CONTENTS)
def test_no_body_can_begin_with_the_mark(name: str) -> None:
    """A branch or a length is not negative, and so an even number in Avro's zigzag; the mark is odd."""
    (mark,) = CONTENT_MARK
    assert mark % 2 == 1
    for version in versions(name):
        assert set(first_bytes(version)) <= {"union", "string", "bytes", "enum"}, name


@FEW
@given(name=st.sampled_from(CONTENTS), data=st.data())
def test_what_is_sealed_is_read_as_it_was_written(name: str, data: st.DataObject) -> None:
    value = data.draw(records(name))
    content = CODEC.encode_content(name, value)
    assert content[:1] == CONTENT_MARK
    assert int.from_bytes(content[1:HEADER_BYTES], "big") == REGISTRY.id_of("", name)
    assert CODEC.decode_content(name, content) == value


def written_then(name: str, value: dict[str, Any], *, marked: bool) -> bytes:
    """A value of the first version, as it was sealed: its body alone, or (``marked``) with its schema's id."""
    body = BytesIO()
    schemaless_writer(body, parse_schema(versions(name)[0]), value)
    header = CONTENT_MARK + REGISTRY.lines(name)[0].id.to_bytes(4, "big") if marked else b""
    return header + body.getvalue()


@FEW
@given(name=st.sampled_from(CONTENTS), marked=st.booleans(), data=st.data())
def test_what_was_sealed_by_an_older_version_is_read_as_ours(name: str, marked: bool, data: st.DataObject) -> None:
    value = data.draw(records(name))
    first = versions(name)[0]
    old = only(first, value)
    found = CODEC.decode_content(name, written_then(name, old, marked=marked))
    assert only(first, found) == old
    # What the older version did not have has its default, and the whole can be written again.
    assert CODEC.decode_content(name, CODEC.encode_content(name, found)) == found


def only(schema: Any, value: Any) -> Any:
    """Of a value what this version of its schema has."""
    if isinstance(schema, list):
        branch = next((one for one in schema if one != "null"), None)
        return value if value is None else only(branch, value)
    if isinstance(schema, dict) and schema["type"] == "record":
        return {field["name"]: only(field["type"], value[field["name"]]) for field in schema["fields"]}
    if isinstance(schema, dict) and schema["type"] == "array":
        return [only(schema["items"], item) for item in value]
    return value


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "truncated_record"),
        (CONTENT_MARK, "truncated_record"),
        (CONTENT_MARK + b"\x00\x00\x00", "truncated_record"),
        (CONTENT_MARK + (9_999).to_bytes(4, "big") + b"\x00", "unknown_schema_id"),
        (CONTENT_MARK + REGISTRY.id_of("", "luxe.pipeline.MessageContent").to_bytes(4, "big"), "schema_violation"),
        (CONTENT_MARK + REGISTRY.id_of("", "luxe.pipeline.RecipientContent").to_bytes(4, "big"), "truncated_record"),
    ],
)
def test_what_is_no_content_says_what_is_wrong(content: bytes, code: str) -> None:
    with pytest.raises(CodecError) as refused:
        CODEC.decode_content("luxe.pipeline.RecipientContent", content)
    assert refused.value.code == code


def test_content_with_something_after_it_is_refused() -> None:
    name = "luxe.pipeline.DeadLetterContent"
    content = CODEC.encode_content(name, {"key": b"k", "value": None, "headers": []})
    with pytest.raises(CodecError) as refused:
        CODEC.decode_content(name, content + b"\x00")
    assert refused.value.code == "trailing_bytes"
