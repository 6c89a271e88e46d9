"""Logging of every process of ours: one line a record, text or JSON, to standard error; never PHI, so never a record's value.

Nor what an error says that is not one of ours: Postgres' quotes the row, pydantic's the input, a parser's what it stumbled over.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

import orjson

# Their errors name field, shape and mend, never a value.
OUR_PACKAGES = ("schemas", "connectors", "streams", "sinks", "api", "cli")

log = logging.getLogger(__name__)


def is_ours(error: BaseException) -> bool:
    """Whether it is an error that our own code defines, whose text may be shown."""
    return type(error).__module__.partition(".")[0] in OUR_PACKAGES


def _may_quote(told: object) -> bool:
    return isinstance(told, BaseException) and not is_ours(told) and not isinstance(told, OSError)


def trace_of(error: BaseException) -> str:
    """A traceback of places and kinds, the first cause first. Texts only of our own errors, and of the system's (OSError)."""
    return "\n".join(_link(link) for link in reversed(list(_chain(error))))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _link(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if not _may_quote(error):
        said = str(error)
    else:
        sqlstate = getattr(error, "sqlstate", None)  # tells Postgres' errors apart, and holds no value
        said = f"SQLSTATE {sqlstate}" if sqlstate else "(its text is not shown: it may quote a value)"
    return "".join(traceback.format_tb(error.__traceback__)) + f"{name}: {said}"


class _Lines(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802 — logging's name
        return "" if ei[1] is None else trace_of(ei[1])


class _JsonLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = record.exc_info[0].__name__
            entry["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


class _QuotesNoError(logging.Filter):
    """Libraries put errors into their messages. Of those only the kind is told, and of asyncio's messages the first line: the
    others show a task or future, and with it the text of its error.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] in OUR_PACKAGES:
            return True  # our own messages say of an error what may be said
        if isinstance(record.args, tuple):
            record.args = tuple(type(arg).__name__ if _may_quote(arg) else arg for arg in record.args)
        if record.name == "asyncio":
            record.msg, record.args = record.getMessage().partition("\n")[0], ()
        return True


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or not isinstance(error, Exception):
        sys.__excepthook__(kind, error or kind(), trace)  # Ctrl-C and the like say nothing of anybody
    else:
        log.critical("ended by an error that nobody foresaw", exc_info=error)


def configure_logging(log_format: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Set up a process' root logger, and what is said of an error that nobody catches.

    Libraries speak from WARNING on: their DEBUG lines print keys and values.
    """
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(_JsonLines())
    else:
        handler.setFormatter(_Lines("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler.addFilter(_QuotesNoError())
    sys.excepthook = _uncaught
    threading.excepthook = lambda ended: _uncaught(ended.exc_type, ended.exc_value, ended.exc_traceback)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("connectors", "streams", "sinks", "api", "cli"):
        logging.getLogger(name).setLevel(level)
