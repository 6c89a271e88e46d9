"""Bad schedules are refused at start: file, line, field and mend, for every way in which a time cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.catalog import CATALOG_PATH, Catalog, CatalogError

START = "[appointment_date, appointment_time]"
BEFORE = f"{{of: {START}, before: P1D, skip_if_within: PT6H}}"
REMINDER = f"""        timing: {BEFORE}
        expiry: {{of: {START}, before: PT3H}}
"""


def _refused(tmp_path: Path, timing: str, expiry: str) -> tuple[str, int]:
    """What is said of the 24 h reminder with other times, and the line that its timing is on."""
    text = CATALOG_PATH.read_text(encoding="utf-8")
    assert REMINDER in text
    path = tmp_path / "catalog.yaml"
    changed = f"        timing: {timing}\n        expiry: {expiry}\n"
    path.write_text(text.replace(REMINDER, changed, 1), encoding="utf-8")
    line = path.read_text(encoding="utf-8").split("\n").index(changed.split("\n")[0]) + 1
    with pytest.raises(CatalogError) as refused:
        Catalog.load(path)
    return str(refused.value), line


@pytest.mark.parametrize(
    ("timing", "mend"),
    [
        ("{of: START}", "say one of after: and before:"),
        ("{of: START, before: P1D, after: P1D}", "say one of after: and before:"),
        ("{of: START, before: 1 day}", "is not a duration: write PT30M, PT24H (elapsed), P1D or P2W"),
        ("{of: appointment, before: P1D}", "no date or instant of that name in the event"),
        ("{of: [appointment_date, service], before: P1D}", "a date and a time of day"),
        ("{of: START, before: P1D, days: working}", "not one of the words allowed"),
        ("{of: START, before: PT24H, days: business}", "counts whole days: write P1D, not PT24H"),
        ("{of: START, before: P61D, days: business}", "at most 60 of them"),
        ("{of: START, plus_days: service, before: P1D}", "service: no number of that name"),
        ("{of: START, before: P1D, not_before: '18:00', not_after: '10:00'}", "not_before must be earlier"),
        ("{of: START, before: P1D, not_before: half past nine}", "on[0].timing[0].not_before"),
        ("{of: START, before: P1D, jitter: P1D}", "jitter: write hours or minutes, up to PT6H"),
        ("{of: START, before: P1D, jitter: PT7H}", "jitter: write hours or minutes, up to PT6H"),
        ("{of: START, before: P1D, jitter: PT0S}", "jitter: write hours or minutes, up to PT6H"),
        ("{of: START, before: P1D, not_before: '10:00', jitter: PT1H}", "give both, not_before and not_after"),
        ("{of: START, before: P1D, not_before: '10:00', not_after: '10:30', jitter: PT1H}", "shorten it"),
        ("{of: START, before: P1D, skip_if_within: PT1H, if_late: send_now}", "drop one"),
        ("{of: START, before: PT2H}", "is due when it has expired already"),
        ("{of: START, before: P1D, jiter: PT1H}", "no such field"),
        ("sometimes", "timing"),
        ("[]", "timing"),
    ],
)
def test_a_bad_timing_is_named_with_line_and_mend(tmp_path: Path, timing: str, mend: str) -> None:
    told, line = _refused(tmp_path, timing.replace("START", START), f"{{of: {START}, before: PT3H}}")
    first = told.split("\n")[0]
    assert first.startswith(f"{tmp_path / 'catalog.yaml'}:{line}: types.appointment_reminder_24h.on[0].timing")
    assert mend in first


@pytest.mark.parametrize(
    ("expiry", "mend"),
    [
        ("{after: P1D, days: business}", "need `of`"),
        ("{after: P1D, plus_days: duration}", "need `of`"),
        ("{of: START}", "say one of after: and before:"),
        ("{of: START, before: P2D}", "timing: is due when it has expired already"),
    ],
)
def test_a_bad_expiry_is_named_with_line_and_mend(tmp_path: Path, expiry: str, mend: str) -> None:
    told, line = _refused(tmp_path, BEFORE, expiry.replace("START", START))
    assert told.split("\n")[0].split(":")[1] in (str(line), str(line + 1))
    assert "types.appointment_reminder_24h.on[0]" in told
    assert mend in told
