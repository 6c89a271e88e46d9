"""The message log: what was accepted is there again, whatever the process died of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.loopback.store import Kept, MessageStore, Pace, StoreError

PACE = Pace(sent_after_ms=10, delivered_after_ms=100)


@contextlib.contextmanager
def opened(directory: Path, **limits: int) -> Iterator[MessageStore]:
    store = MessageStore(directory, **{"max_messages": 100, "max_log_bytes": 1 << 20} | limits)
    try:
        yield store
    finally:
        store.close()


def accept(store: MessageStore, number: int, **changes: Any) -> Kept:
    fields: dict[str, Any] = {
        "message_id": f"SM{number}",
        "channel": "sms",
        "to": f"+1555{number % 3}",
        "sender": "+1500",
        "accepted_ms": 1000 + number,
        "outcome": "delivered",
        "error_code": None,
        "awaits_receipts": False,
        "payload": {"form": {"Body": f"text {number}"}},
    }
    return store.accept(**fields | changes)


def test_messages_payloads_counts_and_opt_outs_are_there_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(6):
            accept(store, number, awaits_receipts=number % 2 == 0)
        store.receipts_done([1, 5])
        store.block("+1500", "+1555", blocked=True)
        store.block("+1500", "+1556", blocked=True)
        store.block("+1500", "+1556", blocked=False)
    with opened(tmp_path) as store:
        assert [kept.id for kept in store.oldest_first()] == [f"SM{number}" for number in range(6)]
        assert [kept.id for kept in store.newest_first(to="+15551")] == ["SM4", "SM1"]
        found = store.find("SM3")
        assert found is not None
        assert store.payload(found) == {"form": {"Body": "text 3"}}
        assert [kept.id for kept in store.owed_receipts()] == ["SM2"]
        assert (store.is_blocked("+1500", "+1555"), store.is_blocked("+1500", "+1556")) == (True, False)
        assert accept(store, 6).seq == 7


def test_a_torn_last_line_is_dropped_a_damaged_one_is_named(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        accept(store, 0)
        accept(store, 1)
    log = tmp_path / "messages.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-5])
    with opened(tmp_path) as store:
        assert len(store) == 1
        accept(store, 2)
    with opened(tmp_path) as store:
        assert [kept.id for kept in store.oldest_first()] == ["SM0", "SM2"]
    log.write_bytes(b'{"secret": "body"}\n' + whole)
    with pytest.raises(StoreError, match=r"line 1 \(19 bytes\)") as refused, opened(tmp_path):
        pass
    assert "secret" not in str(refused.value)
    log.write_bytes(whole)
    with opened(tmp_path) as store:
        assert len(store) == 2


def test_the_oldest_leave_and_their_counts_stay_even_through_a_rewrite(tmp_path: Path) -> None:
    with opened(tmp_path, max_messages=10) as store:
        for number in range(50):
            accept(store, number, awaits_receipts=number == 45)
    size = (tmp_path / "messages.jsonl").stat().st_size
    for _ in range(2):
        with opened(tmp_path, max_messages=10) as store:
            assert [kept.id for kept in store.oldest_first()] == [f"SM{number}" for number in range(40, 50)]
            assert store.find("SM0") is None
            assert store.counts(PACE, 10_000) == {"sms": {"delivered": 50}}
            assert [store.payload(kept)["form"]["Body"] for kept in store.newest_first(to="+15552")][:1] == ["text 47"]
            assert [kept.id for kept in store.owed_receipts()] == ["SM45"]
    assert (tmp_path / "messages.jsonl").stat().st_size < size / 2


def test_clearing_forgets_messages_and_frees_the_disk_but_never_reuses_a_sequence(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(5):
            accept(store, number)
        store.block("+1500", "+1555", blocked=True)
        assert store.clear() == 5
        assert (len(store), store.counts(PACE, 10_000)) == (0, {})
    with opened(tmp_path) as store:
        assert list(store.oldest_first()) == []
        assert store.is_blocked("+1500", "+1555")
        assert accept(store, 9).seq == 6


def test_a_full_log_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    with opened(tmp_path, max_log_bytes=500) as store:
        accept(store, 0)
        accept(store, 1)
        with pytest.raises(StoreError, match="DELETE /messages"):
            accept(store, 2)
        assert len(store) == 2


def test_one_directory_one_owner(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(StoreError, match="another loopback provider"), opened(tmp_path):
        pass


def test_a_status_comes_of_age(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        text = accept(store, 0, outcome="undelivered", error_code=30007)
        service = accept(store, 1, sender="MG" + "0" * 32)
        email = accept(store, 2, channel="email", outcome="bounce")
        push = accept(store, 3, channel="push", outcome="accepted")
        ages = [(text, 5, "queued"), (text, 10, "sent"), (text, 100, "undelivered"), (service, 0, "accepted")]
        ages += [(email, 99, "processed"), (email, 100, "bounce"), (push, 0, "accepted")]
        assert all(PACE.status(kept, kept.accepted_ms + age) == status for kept, age, status in ages)
        assert store.counts(PACE, 1050) == {
            "sms": {"sent": 2},
            "email": {"processed": 1},
            "push": {"accepted": 1},
        }


def test_a_repr_shows_no_number(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert "+1555" not in repr(accept(store, 0))
