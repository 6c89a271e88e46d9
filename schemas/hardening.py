"""Schemas as fastavro reads them safely: an index below zero in a union or an enum is refused instead of counted from the end."""

from __future__ import annotations

import sys
from typing import Any

import fastavro

from schemas.definitions import Schema


def hardened(schema: Schema) -> Schema:
    """A parsed schema for reading only. The extra safety costs less than can be measured.

    fastavro indexes a union's branches and an enum's symbols with whatever integer the bytes hold; Python lists take -1 for the
    last. A mapping from 0..n-1 does not, and looks up at the speed of C.
    """
    return dict(_harden(fastavro.parse_schema(schema)))


def _endless(_branches: object) -> int:
    # Compiled code adds the length to an index below zero before it looks up: so it must land beyond every branch.
    return sys.maxsize


def _harden(node: Any) -> Any:
    if isinstance(node, list):
        branches = [_harden(branch) for branch in node]
        return type("Branches", (list,), {"__getitem__": dict(enumerate(branches)).__getitem__, "__len__": _endless})(
            branches
        )
    if not isinstance(node, dict):
        return node
    kept = dict(node)
    if node["type"] == "enum":
        kept["symbols"] = dict(enumerate(node["symbols"]))
    elif node["type"] == "record":
        kept["fields"] = [{**field, "type": _harden(field["type"])} for field in node["fields"]]
    for inner in ("items", "values"):
        if inner in node:
            kept[inner] = _harden(node[inner])
    return kept
