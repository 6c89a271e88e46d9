"""What every delivery of a process shares."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.statuses import StatusLog
from sinks.runtime.admission import Admission
from sinks.runtime.attempts import Attempts
from sinks.runtime.channel import Channel
from sinks.runtime.counted import Counted
from sinks.runtime.dead_letters import DeadLetters
from sinks.runtime.devices import Devices
from sinks.runtime.form_files import FormFiles
from sinks.runtime.gates_reader import GatesReader
from sinks.runtime.keys import Keys
from sinks.runtime.later_schemas import LaterSchemas
from sinks.runtime.overdue import Overdue
from sinks.runtime.short_links import LinkStore
from sinks.runtime.text_questions import QuestionStore
from sinks.runtime.tuning import Tuning


@dataclass(frozen=True, slots=True)
class Tools:
    """Opened once, closed by whoever opened them."""

    channel: Channel
    tuning: Tuning
    records: Records
    pool: Pool
    keys: Keys
    devices: Devices
    gates: GatesReader
    admission: Admission
    attempts: Attempts
    links: LinkStore
    forms: FormFiles
    questions: QuestionStore
    statuses: StatusLog
    dead_letters: DeadLetters
    counted: Counted
    later: LaterSchemas
    overdue: Overdue
