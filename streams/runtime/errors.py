"""What can go wrong, in three kinds: one event's fault, this process's end, and an answer that cannot be given yet."""

from __future__ import annotations

import logging
import os
import traceback
from typing import NoReturn

from confluent_kafka import KafkaError, KafkaException

from connectors.kafka_refusals import why
from connectors.sealing import KeyRingError
from schemas.codec import LaterSchemaError
from schemas.registry import RegistryUnavailableError
from schemas.topics import EVENT_TOPICS

log = logging.getLogger(__name__)

# Exit statuses, so that a supervisor and its operator can tell the kinds apart (numbers of sysexits.h).
EXIT_FATAL = 70  # EX_SOFTWARE: a transaction, a restore or the agent's own code failed; starting again is the mend
EXIT_STALLED = 74  # EX_IOERR: there was work, and for too long nothing moved
EXIT_FENCED = 75  # EX_TEMPFAIL: another process owns our partitions now; everything unfinished here was aborted


class PoisonError(Exception):
    """This one event cannot be handled, now or later. It goes to the dead letters; its neighbours go on."""


class OutputTooLarge(PoisonError):
    """An output or state value is larger than its topic takes, so this event can never be committed."""


class FatalError(Exception):
    """The process cannot go on without risking what it promises. It ends; what was uncommitted is aborted and done again."""


class NotReadyError(FatalError):
    """A view was asked before it had been read to its end. "Not known yet" must never look like "there is none"."""


class FencedError(FatalError):
    """Another process has taken the partition over (same transactional id, newer epoch)."""


class StalledError(FatalError):
    """There is input, and for longer than the limit no position has moved."""


# Not the event's fault: its neighbours would end alike, and it is handled well once this is mended. Beside these stands what
# RocksDB cannot read, for which its client raises a bare Exception.
_SURROUNDINGS = (KeyRingError, RegistryUnavailableError)


def refuse_surroundings(error: Exception, topic: str) -> None:
    """Raises FatalError for what is no one event's fault. ``topic``: of the record at hand, ``""`` for a timer's.

    A schema that nobody knows is a producer's fault in its events. What our own services wrote with one is of a later release.
    """
    if isinstance(error, FatalError):
        raise error
    if isinstance(error, LaterSchemaError) and topic not in EVENT_TOPICS:
        raise outdated(topic or "a timer", error) from error
    if type(error) is Exception or isinstance(error, _SURROUNDINGS):
        raise FatalError(f"{type(error).__name__}: {error}") from error


def outdated(where: str, error: LaterSchemaError) -> FatalError:
    """The end of a process that is older than what it reads; whatever it read stays where it is for a newer one."""
    return FatalError(
        f"{where}: schema id {error.schema_id} is unknown here, so this process is older than what it reads: deploy it before "
        "those that write it (docs/runbooks/upgrade.md); with an HTTP registry, `luxe schemas push`"
    )


def exit_status(error: BaseException) -> int:
    """The exit status that tells a supervisor what kind of end this was."""
    if isinstance(error, FencedError):
        return EXIT_FENCED
    if isinstance(error, StalledError):
        return EXIT_STALLED
    return EXIT_FATAL


def end_process(error: BaseException) -> NoReturn:
    """Ends the process at once. Whatever is uncommitted is aborted by the next owner; nothing needs to be saved here.

    An error of ours says what to do; of another only its kind and place are told, for its text may quote a record.
    """
    text = str(error) if isinstance(error, FatalError) else "".join(traceback.format_tb(error.__traceback__))
    log.critical("ending: %s: %s", type(error).__name__, text)
    logging.shutdown()
    os._exit(exit_status(error))


_FENCED_CODES = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
    }
)


def fatal_from(doing: str, error: KafkaException) -> FatalError:
    """The fatal error that a Kafka error means while ``doing`` something."""
    cause: KafkaError = error.args[0]
    kind = FencedError if cause.code() in _FENCED_CODES else FatalError
    said = why(cause)
    return kind(f"{doing}: {f'{said}: {cause.str()}' if said == cause.name() else said}")
