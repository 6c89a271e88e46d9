"""What a process says of an error: where and of what kind it was, never a value that the error's text quotes."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from pydantic import BaseModel, ValidationError

from connectors.logs import trace_of
from schemas.codec import CodecError

NAME = "Zebulon Quartermain"


class Age(BaseModel):
    years: int


def pydantics() -> ValidationError:
    with pytest.raises(ValidationError) as refused:
        Age.model_validate({"years": NAME})
    return refused.value


def test_a_librarys_error_is_told_by_kind_and_place() -> None:
    error = pydantics()
    assert NAME in str(error)
    told = trace_of(error)
    assert NAME not in told
    assert "ValidationError" in told
    assert "test_logs.py" in told


def test_an_error_of_ours_is_told_whole_and_its_cause_is_not() -> None:
    error = CodecError("truncated_record", "the record ends within it; send the whole record")
    error.__cause__ = ValueError(NAME)
    told = trace_of(error)
    assert "send the whole record" in told
    assert "ValueError" in told
    assert NAME not in told


SCRIPT = """
import asyncio, gc, logging, threading
from connectors.logs import configure_logging
configure_logging({log_format!r})
name = input()

async def forgotten():
    async def fail():
        raise ValueError(name)
    task = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    del task
    gc.collect()

asyncio.run(forgotten())
thread = threading.Thread(target=int, args=(name,))
thread.start()
thread.join()
try:
    int(name)
except ValueError as error:
    logging.getLogger("faust.agents").error("Agent %r raised %r", "a", error)
    logging.getLogger("aiohttp.server").exception("Error handling request")
int(name)
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_way_out_of_a_process_shows_what_an_error_quotes(log_format: str) -> None:
    script = SCRIPT.format(log_format=log_format)
    done = subprocess.run(
        [sys.executable, "-c", script], input=f"{NAME}\n", capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.count("ValueError") >= 5
    assert NAME not in done.stderr
    assert logging.getLevelName(logging.CRITICAL).lower() in done.stderr.lower()
