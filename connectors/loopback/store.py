"""What the provider accepted: an append-only log on disk, and a small index of it in memory.

The bodies stay on disk and are read back by offset when somebody looks: a million messages then cost a few hundred
bytes each in memory. A message is written to the log *before* it is answered, so what a client was told is accepted
survives ``kill -9`` (the write goes to the kernel; a power cut is not survived, nor is it by any demo that matters here).

The log holds message bodies in clear, as the real provider would see them: it is created 0600 in a 0700 directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

# inbound: texts from phones to us, which the provider lists beside those that we sent.
Channel = Literal["sms", "email", "push", "inbound"]

LOG_FILE = "messages.jsonl"
LOCK_FILE = "lock"


class StoreError(Exception):
    """The log cannot take or give back messages; the text says what to do. Carries no message content."""


@dataclass(slots=True)
class Kept:
    """Index entry of one accepted message. Times in epoch milliseconds; ``outcome`` is what becomes of it in the end."""

    seq: int
    id: str
    channel: Channel
    to: str
    sender: str
    accepted_ms: int
    outcome: str
    error_code: int | None
    offset: int
    length: int

    def __repr__(self) -> str:
        return f"Kept(seq={self.seq}, id={self.id!r}, channel={self.channel!r}, to=<{len(self.to)} characters>)"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a message takes, counted from its acceptance, in milliseconds."""

    sent_after_ms: int
    delivered_after_ms: int

    def status(self, kept: Kept, now_ms: int) -> str:
        """What the provider would answer if asked at ``now_ms``, in the provider's own words."""
        age_ms = now_ms - kept.accepted_ms
        if kept.channel in ("push", "inbound") or age_ms >= self.delivered_after_ms:
            return kept.outcome
        if kept.channel == "email":
            return "processed"
        if age_ms >= self.sent_after_ms:
            return "sent"
        return "accepted" if kept.sender.startswith("MG") else "queued"


class MessageStore:
    """The log and its index. One process owns a directory at a time; not thread-safe (one event loop uses it)."""

    def __init__(self, directory: Path, *, max_messages: int, max_log_bytes: int) -> None:
        """Open or create the log in ``directory`` and replay it.

        ``max_messages`` are kept in the index, the oldest leave first (their counts stay). Past ``max_log_bytes`` of log
        new messages are refused. Raises StoreError when the directory is in use, not ours, or the log is damaged.
        """
        self._directory = directory
        self._max_messages = max_messages
        self._max_log_bytes = max_log_bytes
        self._messages: dict[int, Kept] = {}
        self._by_id: dict[str, Kept] = {}
        self._by_to: dict[str, deque[int]] = {}
        self._totals: Counter[tuple[Channel, str]] = Counter()
        self._evicted: Counter[tuple[Channel, str]] = Counter()
        self._awaiting_receipts: set[int] = set()
        self._blocked: set[tuple[str, str]] = set()
        self._next_seq = 1
        self._end = 0
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"--state-dir {directory}: cannot be used ({error.strerror}); give a writable directory"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StoreError(
                f"--state-dir {directory}: another loopback provider runs on it; stop it or give another"
            ) from error
        try:
            self._log = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._replay()
        except StoreError:
            os.close(self._lock)
            raise
        except OSError as error:
            os.close(self._lock)
            raise StoreError(
                f"{self._path}: cannot be read ({error.strerror}); mend it or give another --state-dir"
            ) from error

    @property
    def _path(self) -> Path:
        return self._directory / LOG_FILE

    def close(self) -> None:
        """Give the directory back. Everything accepted is in the log already."""
        os.close(self._log)
        os.close(self._lock)

    # Writing

    def accept(
        self,
        *,
        message_id: str,
        channel: Channel,
        to: str,
        sender: str,
        accepted_ms: int,
        outcome: str,
        error_code: int | None,
        awaits_receipts: bool,
        payload: dict[str, Any],
    ) -> Kept:
        """Write one message to the log and index it. Raises StoreError when it cannot be written; then nothing is kept."""
        seq = self._next_seq
        line = orjson.dumps(
            {
                "seq": seq,
                "id": message_id,
                "channel": channel,
                "to": to,
                "from": sender,
                "accepted_ms": accepted_ms,
                "outcome": outcome,
                "error_code": error_code,
                "awaits_receipts": awaits_receipts,
                "payload": payload,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        if self._end + len(line) > self._max_log_bytes:
            raise StoreError(f"the message log is full ({self._end} bytes); DELETE /messages or raise --max-log-bytes")
        offset = self._end
        self._append(line)
        self._next_seq = seq + 1
        kept = Kept(seq, message_id, channel, to, sender, accepted_ms, outcome, error_code, offset, len(line))
        self._index(kept)
        if awaits_receipts:
            self._awaiting_receipts.add(seq)
        return kept

    def receipts_done(self, seqs: Iterable[int]) -> None:
        """Record that nothing more is owed for these messages, so that a restart does not post their receipts again."""
        done = [seq for seq in seqs if seq in self._awaiting_receipts]
        if done:
            self._append(orjson.dumps({"receipts_done": done}, option=orjson.OPT_APPEND_NEWLINE))
            self._awaiting_receipts.difference_update(done)

    def block(self, sender: str, number: str, *, blocked: bool) -> None:
        """Record that ``number`` texted STOP (or START) to ``sender``: the carrier-side opt-out Twilio keeps per sender."""
        self._append(orjson.dumps({"block": [sender, number, blocked]}, option=orjson.OPT_APPEND_NEWLINE))
        self._apply_block(sender, number, blocked)

    def clear(self) -> int:
        """Forget every message, on disk too; returns how many there were. Opt-outs stay, as they would at the provider."""
        forgotten = self._totals.total()
        self._messages.clear()
        self._by_id.clear()
        self._by_to.clear()
        self._awaiting_receipts.clear()
        self._totals.clear()
        self._evicted.clear()
        self._rewrite()
        return forgotten

    def _append(self, line: bytes) -> None:
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._log, view) :]
        except OSError as error:
            # A half-written line would be taken for damage at the next start.
            with contextlib.suppress(OSError):
                os.ftruncate(self._log, self._end)
            raise StoreError(
                f"the message log cannot be written ({error.strerror}); free space in --state-dir"
            ) from error
        self._end += len(line)

    def _index(self, kept: Kept) -> None:
        self._messages[kept.seq] = kept
        self._by_id[kept.id] = kept
        self._by_to.setdefault(kept.to, deque()).append(kept.seq)
        self._totals[kept.channel, kept.outcome] += 1
        if len(self._messages) > self._max_messages:
            self._evict(next(iter(self._messages.values())))

    def _evict(self, oldest: Kept) -> None:
        del self._messages[oldest.seq]
        del self._by_id[oldest.id]
        seqs = self._by_to[oldest.to]
        seqs.popleft()  # the oldest of all is the oldest of its address
        if not seqs:
            del self._by_to[oldest.to]
        self._awaiting_receipts.discard(oldest.seq)
        self._evicted[oldest.channel, oldest.outcome] += 1

    def _apply_block(self, sender: str, number: str, blocked: bool) -> None:
        if blocked:
            self._blocked.add((sender, number))
        else:
            self._blocked.discard((sender, number))

    # Reading

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def log_bytes(self) -> int:
        """Length of the log in bytes."""
        return self._end

    def find(self, message_id: str) -> Kept | None:
        """The message of that provider id, if it is still kept."""
        return self._by_id.get(message_id)

    def get(self, seq: int) -> Kept | None:
        """The message of that sequence number, if it is still kept."""
        return self._messages.get(seq)

    def is_blocked(self, sender: str, number: str) -> bool:
        """Whether ``number`` opted out of ``sender`` by text."""
        return bool(self._blocked) and (sender, number) in self._blocked

    def oldest_first(self, *, after_seq: int = 0, to: str | None = None) -> Iterator[Kept]:
        """Messages with a sequence number above ``after_seq``, in order of acceptance."""
        if to is not None:
            seqs: Iterable[int] = [seq for seq in self._by_to.get(to, ()) if seq > after_seq]
        else:
            first = next(iter(self._messages), self._next_seq)
            seqs = range(max(after_seq + 1, first), self._next_seq)
        for seq in seqs:
            kept = self._messages.get(seq)
            if kept is not None:
                yield kept

    def newest_first(self, *, to: str | None = None) -> Iterator[Kept]:
        """Messages in reverse order of acceptance, as Twilio lists them."""
        seqs = reversed(self._by_to.get(to, ())) if to is not None else reversed(self._messages)
        for seq in seqs:
            yield self._messages[seq]

    def payload(self, kept: Kept) -> dict[str, Any]:
        """What was sent, read back from the log."""
        record: dict[str, Any] = orjson.loads(os.pread(self._log, kept.length, kept.offset))
        payload: dict[str, Any] = record["payload"]
        return payload

    def owed_receipts(self) -> list[Kept]:
        """Messages whose receipts were not all posted (the process ended before), oldest first."""
        return [self._messages[seq] for seq in sorted(self._awaiting_receipts)]

    def counts(self, pace: Pace, now_ms: int) -> dict[Channel, Counter[str]]:
        """How many messages by channel and by status as of ``now_ms``; messages evicted from the index included."""
        counted: dict[Channel, Counter[str]] = {}
        for (channel, outcome), number in self._totals.items():
            if channel == "inbound":
                continue  # nothing that we sent
            counted.setdefault(channel, Counter())[outcome] += number
        # Only the youngest have not reached their outcome yet.
        for kept in self.newest_first():
            if now_ms - kept.accepted_ms >= pace.delivered_after_ms:
                break
            status = pace.status(kept, now_ms)
            if kept.channel == "inbound":
                continue
            counted[kept.channel][kept.outcome] -= 1
            counted[kept.channel][status] += 1
        return {channel: +counter for channel, counter in counted.items()}

    # The log

    def _replay(self) -> None:
        with open(self._path, "rb") as log:
            for number, line in enumerate(log, start=1):
                if not line.endswith(b"\n"):
                    break  # the process died inside this write: nobody was told it was accepted
                try:
                    self._replay_record(orjson.loads(line), self._end, len(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise StoreError(
                        f"{self._path}: line {number} ({len(line)} bytes) is not a record of ours "
                        f"({type(error).__name__}); remove the line or give another --state-dir"
                    ) from error
                self._end += len(line)
        os.ftruncate(self._log, self._end)
        dead_bytes = self._end - sum(kept.length for kept in self._messages.values())
        if dead_bytes > self._end // 2 and self._messages:
            self._rewrite()

    def _replay_record(self, record: dict[str, Any], offset: int, length: int) -> None:
        if "seq" in record:
            kept = Kept(
                record["seq"],
                record["id"],
                record["channel"],
                record["to"],
                record["from"],
                record["accepted_ms"],
                record["outcome"],
                record["error_code"],
                offset,
                length,
            )
            self._next_seq = kept.seq + 1
            if record["awaits_receipts"]:
                self._awaiting_receipts.add(kept.seq)
            self._index(kept)
        elif "receipts_done" in record:
            self._awaiting_receipts.difference_update(record["receipts_done"])
        elif "block" in record:
            self._apply_block(*record["block"])
        else:
            self._next_seq = record["next_seq"]
            for channel, outcome, number in record["evicted"]:
                self._evicted[channel, outcome] = number
                self._totals[channel, outcome] = number

    def _rewrite(self) -> None:
        """Write the log anew with only what is still kept, and put it in the old one's place in one step."""
        evicted = [[channel, outcome, number] for (channel, outcome), number in self._evicted.items()]
        first = next(iter(self._messages), self._next_seq)
        lines = [
            {"next_seq": first, "evicted": evicted},
            *({"block": [*pair, True]} for pair in sorted(self._blocked)),
        ]
        fresh = self._path.with_suffix(".rewrite")
        end = 0
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
            for line in lines:
                end += out.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            for kept in self._messages.values():
                record = os.pread(self._log, kept.length, kept.offset)
                kept.offset = end
                end += out.write(record)
            settled = [seq for seq in self._messages if seq not in self._awaiting_receipts]
            if settled:
                end += out.write(orjson.dumps({"receipts_done": settled}, option=orjson.OPT_APPEND_NEWLINE))
            out.flush()
            os.fsync(out.fileno())
        os.replace(fresh, self._path)
        os.close(self._log)
        self._log = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._end = end
