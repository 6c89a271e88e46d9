"""Templates of the plain kind, rendered without Jinja: texts, variables, and ``if`` on a variable; the same output, faster.

Nearly all texts are of this kind. Everything else (filters, loops, comparisons) is rendered by Jinja.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from jinja2 import nodes

Render: TypeAlias = Callable[[Mapping[str, Any]], str]
Write: TypeAlias = Callable[[Any], str]


class Piece(NamedTuple):
    """A text and what follows it: nothing (no variable), a variable's value, or, where ``then`` is given, a choice by it."""

    text: str
    variable: str = ""
    then: tuple[Piece, ...] | None = None
    otherwise: tuple[Piece, ...] = ()


class _NotPlainError(Exception):
    """Something that only Jinja renders."""


def straight(tree: nodes.Template, write: Write) -> Render | None:
    """The renderer of a parsed template; None where it is not plain. ``write``: a value as text (escaped, for HTML)."""
    try:
        pieces = _pieces(tree.body)
    except _NotPlainError:
        return None

    def render(values: Mapping[str, Any]) -> str:
        said: list[str] = []
        _say(pieces, values, write, said.append)
        return "".join(said)

    return render


def _say(pieces: Sequence[Piece], values: Mapping[str, Any], write: Write, add: Callable[[str], None]) -> None:
    for text, variable, then, otherwise in pieces:
        if text:
            add(text)
        if variable:
            if then is None:
                add(write(values[variable]))
            else:
                _say(then if values[variable] else otherwise, values, write, add)


def _pieces(body: Sequence[nodes.Node]) -> tuple[Piece, ...]:
    found: list[Piece] = []
    text = ""
    for node in body:
        for part in node.nodes if isinstance(node, nodes.Output) else (node,):
            if isinstance(part, nodes.TemplateData):
                text += part.data
            elif isinstance(part, nodes.Name):
                found.append(Piece(text, part.name))
                text = ""
            elif isinstance(part, nodes.If) and isinstance(part.test, nodes.Name):
                found.append(Piece(text, part.test.name, _pieces(part.body), _otherwise(part.elif_, part.else_)))
                text = ""
            else:
                raise _NotPlainError
    if text:
        found.append(Piece(text))
    return tuple(found)


def _otherwise(branches: Sequence[nodes.If], last: Sequence[nodes.Node]) -> tuple[Piece, ...]:
    """``elif`` and ``else``: each a choice within the one before."""
    if not branches:
        return _pieces(last)
    first, *rest = branches
    if not isinstance(first.test, nodes.Name):
        raise _NotPlainError
    return (Piece("", first.test.name, _pieces(first.body), _otherwise(rest, last)),)
