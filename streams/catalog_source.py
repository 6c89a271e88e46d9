"""Reading ``catalog.yaml`` so that every error names the file, the line, the field and the mend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from connectors.lined_yaml import scalar

At = tuple[str | int, ...]
"""Where in the document: ``("types", "review_request", "on", 0, "timing")``."""

Model = TypeVar("Model", bound=BaseModel)

# What pydantic's kinds of fault mean for whoever edits the file.
_MENDS = {
    "missing": "required: write it, or name a profile that has it",
    "extra_forbidden": "no such field: see docs/catalogue.md for the columns",
    "literal_error": "not one of the words allowed",
    "bool_type": "write true or false",
    "int_type": "write a whole number",
    "string_type": "write a text (quote times: '09:00')",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "tuple_type": "write one mapping, or a list of them",
    "too_short": "write at least one, or leave it out",
}


class CatalogError(Exception):
    """The catalogue cannot be used. One line a fault: ``file:line: field: what is wrong: what to do``."""


class Source:
    """A YAML document as plain values, and the line of every node by its path. Raises CatalogError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[At, int] = {}
        try:
            node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        except UnicodeDecodeError as error:
            raise CatalogError(f"{path}: not UTF-8 (byte {error.start}): save it as UTF-8") from error
        except OSError as error:
            raise CatalogError(f"{path}: cannot be read ({type(error).__name__}): is the file there?") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise CatalogError(f"{path}:{line}: not YAML ({error.problem}): mend the indentation or quoting") from error
        except yaml.YAMLError as error:
            raise CatalogError(f"{path}: not YAML (a character that it may not hold): save it as UTF-8 text") from error
        value = self._value(node, ())
        if not isinstance(value, dict):
            raise CatalogError(f"{path}:1: expected a mapping with `profiles`, `events` and `types`")
        self.value: dict[str, Any] = value

    def _value(self, node: yaml.Node | None, at: At) -> object:
        """A node's value, remembering lines; a key given twice is an error, where YAML would let the last one win."""
        if node is None:
            return None
        self._lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            found: dict[str, object] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                if key in found:
                    line = key_node.start_mark.line + 1
                    raise CatalogError(f"{self.path}:{line}: {_dotted((*at, key))}: given twice: keep one")
                self._lines[(*at, key)] = key_node.start_mark.line + 1
                found[key] = self._value(value_node, (*at, key))
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*at, index)) for index, item in enumerate(node.value)]
        return scalar(node)

    def line(self, at: At) -> int:
        """The line of a path, or of the nearest part of it that is written down."""
        while at and not (found := [one for one in _written(at) if one in self._lines]):
            at = at[:-1]
        return self._lines[found[0]] if at else 1

    def fault(self, at: At, problem: str) -> str:
        """One fault as a line."""
        return f"{self.path}:{self.line(at)}: {_dotted(at)}: {problem}"


def _written(at: At) -> Iterator[At]:
    """Where a path may stand in the file: one timing need be no list, and a row's stands for those of its triggers."""
    yield at
    if len(at) > 4 and at[2] == "on":
        column, rest = at[4], at[5:]
        whole = rest[1:] if rest and isinstance(rest[0], int) else rest
        yield (*at[:5], *whole)
        yield (*at[:2], column, *rest)
        yield (*at[:2], column, *whole)


def _dotted(at: At) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")


def parse(source: Source, model: type[Model], at: At, value: Mapping[str, Any] | object) -> Model:
    """``value``, which lies at ``at``, as a model. Raises CatalogError with a line for each fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise CatalogError("\n".join(_faults(source, at, error))) from error


def _within(inner: ErrorDetails, outer: ErrorDetails) -> bool:
    return inner["loc"][: len(outer["loc"])] == outer["loc"]


def _faults(source: Source, at: At, error: ValidationError) -> Iterable[str]:
    found = error.errors(include_url=False)
    for fault in found:
        # Where an item is wrong, pydantic also finds that there are too few.
        if fault["type"] == "too_short" and any(len(o["loc"]) > len(fault["loc"]) for o in found if _within(o, fault)):
            continue
        # Unions put the name of the branch into the path; the file has no such key.
        loc = ("on" if part == "triggers" else part for part in fault["loc"])
        where = (*at, *(part for part in loc if isinstance(part, int) or "[" not in part))
        mend = _MENDS.get(fault["type"], "see docs/catalogue.md")
        yield source.fault(where, f"{fault['msg'][:200]}: {mend}")
