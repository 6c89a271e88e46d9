"""Names of the catalogue that documents may say: types and categories that a policy is about, what quiet hours do not hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.shapes import Violation, shape_of

MEND_TYPE = "name a notification type of the catalogue (docs/catalogue.md lists them), or leave it out"
MEND_CATEGORY = "name a category of the catalogue (docs/catalogue.md lists them), or leave it out"
MEND_WORD = "name a notification type or category of the catalogue (docs/catalogue.md lists them), or `critical`"


class Names(NamedTuple):
    """``types``: every notification type. ``categories``: theirs. ``words``: what exceptions of quiet hours may name.

    ``timing_faults``: what is wrong with a policy's ``timings``, which name types and move them.
    """

    types: frozenset[str]
    categories: frozenset[str]
    words: frozenset[str]
    timing_faults: Callable[[Sequence[Mapping[str, Any]]], Iterator[Violation]]


def unknown(
    path: str, given: Iterable[str], before: Collection[str], known: Collection[str], mend: str
) -> Iterator[Violation]:
    """Names that nobody has heard of, each by its place. What stood there before may stay: catalogues change."""
    for number, name in enumerate(given):
        if name not in known and name not in before:
            yield Violation(f"{path}.{number}", shape_of(name), mend)
