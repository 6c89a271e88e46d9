"""Our data plane under Faust: batched consuming, one Kafka transaction per partition and batch, state, timers, views.

It moves bytes. It knows nothing of Avro, of the catalogue or of notifications. What it promises: docs/guarantees-streams.md.
"""

from streams.runtime.app import RuntimeApp, build_app
from streams.runtime.errors import FatalError, OutputTooLarge, PoisonError
from streams.runtime.partition import Batch, Event
from streams.runtime.records import DueTimer, Output, Record
from streams.runtime.stream import Batches
from streams.runtime.tuning import Tuning
from streams.runtime.view import View

__all__ = [
    "Batch",
    "Batches",
    "DueTimer",
    "Event",
    "FatalError",
    "Output",
    "OutputTooLarge",
    "PoisonError",
    "Record",
    "RuntimeApp",
    "Tuning",
    "View",
    "build_app",
]
