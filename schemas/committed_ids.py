"""How ``ids.json`` grows: new subjects and versions get ids, what stands there already never changes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from schemas.definitions import Schema, fingerprint
from schemas.registry import CommittedVersion

Lines = dict[str, list[CommittedVersion]]


class Growth(NamedTuple):
    """ids.json as it should be, and what stands in the way (then it must not be written)."""

    lines: Lines
    problems: list[str]


def grow(
    committed: Lines,
    subjects: Mapping[str, str],
    texts: Mapping[str, Sequence[Schema]],
    amend: Collection[str] = (),
) -> Growth:
    """Give every version of every subject its id.

    ``subjects``: subject → record. ``texts``: record → its versions, oldest first. ``amend``: records whose newest version was
    never in use, and takes its new text under the old id.
    """
    lines: Lines = {}
    problems = [
        f"{gone}: committed, but its record or topic is gone; ids are kept for good, so put it back"
        for gone in sorted(committed.keys() - subjects.keys())
    ]
    ids = {
        (subjects[of_subject], line.version): line.id
        for of_subject, held in committed.items()
        if of_subject in subjects
        for line in held
    }
    # Two branches may each give the next id to a schema of their own, and merge without a conflict.
    schema_of: dict[int, str] = {}
    for of_subject, held in committed.items():
        for line in held:
            other = schema_of.setdefault(line.id, line.fingerprint)
            if other != line.fingerprint:
                problems.append(
                    f"{of_subject}: version {line.version} has id {line.id}, which is another schema's; if it was never in use, "
                    "take its line out of schemas/ids.json and run `luxe schemas generate`"
                )
    highest = max((line.id for held in committed.values() for line in held), default=0)
    for of_subject, name in subjects.items():
        prints = [fingerprint(text) for text in texts[name]]
        held = committed.get(of_subject, [])
        if len(held) > len(prints):
            problems.append(f"{of_subject}: {len(held)} versions committed, {len(prints)} found; put the others back")
        for version, print_ in enumerate(prints, start=1):
            if version <= len(held) and held[version - 1].fingerprint != print_:
                is_newest = version == len(prints)
                if not (is_newest and name in amend):
                    problems.append(_changed(of_subject, name, version, is_newest=is_newest))
            if (name, version) not in ids:
                highest += 1
                ids[name, version] = highest
        lines[of_subject] = [
            CommittedVersion(version, ids[name, version], print_) for version, print_ in enumerate(prints, start=1)
        ]
    return Growth(dict(sorted(lines.items())), problems)


def _changed(of_subject: str, name: str, version: int, *, is_newest: bool) -> str:
    if not is_newest:
        return f"{of_subject}: version {version} in the history was changed; take it from version control again"
    return (
        f"{of_subject}: version {version} was changed in place; keep its old text as "
        f"schemas/avro/history/{name}/{version}.avsc (git show HEAD:<its path>), or, if it was never in use, "
        f"run `luxe schemas generate --amend {name}`"
    )


def as_text(lines: Lines) -> str:
    """ids.json: a subject a line, so that a change shows as what it is."""
    rows = [
        f"  {json.dumps(of_subject)}: [{', '.join(json.dumps(line._asdict()) for line in held)}]"
        for of_subject, held in lines.items()
    ]
    return "{\n" + ",\n".join(rows) + "\n}\n"
