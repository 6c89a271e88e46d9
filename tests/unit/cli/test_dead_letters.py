"""Every code that a dead letter can carry is explained."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from cli.dead_letters import CAUSES
from schemas.codec import CodecErrorCode
from streams.event_checks import NOT_IN_FORCE

ROOT = Path(__file__).parents[3]
# Errors of one record, by class: their first argument is the code.
CODED = {"PoisonError", "BadEventError", "MappingError", "RequestError"}


def codes() -> Iterator[str]:
    """The codes that the hops' and sinks' own code names."""
    for path in (*(ROOT / "streams").rglob("*.py"), *(ROOT / "sinks").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(code)), *_]) if name in CODED:
                    yield code
                case ast.ClassDef(body=body):
                    for line in body:
                        match line:
                            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                                yield code


def test_every_code_has_a_cause_and_a_mend() -> None:
    named = set(codes())
    assert {"wrong_key", "template_error", "null_key"} <= named
    known = named | set(get_args(CodecErrorCode)) | {code for code, _, _ in NOT_IN_FORCE.values()}
    assert known - CAUSES.keys() == set()
    assert all(cause and mend for cause, mend in CAUSES.values())
