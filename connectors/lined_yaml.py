"""A YAML file as plain values, and the line of every key, so that a fault can be told where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import ErrorDetails

Lines = dict[tuple[str, ...], int]


def read(file: Path, error_class: type[Exception]) -> tuple[Any, Lines]:
    """The file's value, and path of keys → line. Numbers with a point stay texts, as they are written.

    Raises ``error_class``: not there, not UTF-8, no YAML, or a key given twice, where YAML would let the last one win.
    """
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise error_class(f"{file}: cannot be read ({type(error).__name__}): is it there, and UTF-8?") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise error_class(f"{file}:{line}: not YAML ({error.problem}): mend the indentation or quoting") from error
    lines: Lines = {}
    return _value(file, node, (), lines, error_class), lines


def told(file: Path, at: tuple[str, ...], lines: Mapping[tuple[str, ...], int], fault: ErrorDetails, see: str) -> str:
    """One fault that pydantic found below ``at``: file, line, field, what is wrong, where the mend is described."""
    where = (*at, *map(str, fault["loc"]))
    sizes: Iterable[int] = range(len(where), 0, -1)
    line = next((lines[where[:size]] for size in sizes if where[:size] in lines), 1)
    return f"{file}:{line}: {'.'.join(where)}: {fault['msg'][:200]}: see {see}"


def scalar(node: yaml.Node) -> bool | int | str | None:
    """The value of a scalar as it looks: YAML 1.1 reads an unquoted 09:00 as a number of base 60; here it is a text."""
    kind, text = node.tag.rsplit(":", 1)[-1], str(node.value)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in {"true", "yes", "on"}
    return int(text) if kind == "int" and text.lstrip("-").isdigit() else text


def _value(file: Path, node: yaml.Node | None, at: tuple[str, ...], lines: Lines, error_class: type[Exception]) -> Any:
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = lines[(*at, key)] = key_node.start_mark.line + 1
            if key in found:
                raise error_class(f"{file}:{line}: {'.'.join((*at, key))}: given twice: keep one")
            found[key] = _value(file, value_node, (*at, key), lines, error_class)
        return found
    if isinstance(node, yaml.ScalarNode):
        return scalar(node)
    return [] if node is not None else None
