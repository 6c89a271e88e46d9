"""One partition's rows on disk: RocksDB, bytes in and out. The changelog is the truth; this is the copy that answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, cast

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, RdictIter, WriteBatch, WriteOptions

from streams.runtime.errors import FatalError
from streams.runtime.tuning import Tuning

# What a write is: row key and new value, None deletes.
Changes = Iterable[tuple[bytes, bytes | None]]

_BLOOM_BITS_PER_KEY = 10  # 1 % false positives: a miss, the commonest read of all, costs no disk
_OLD_LOGS_KEPT = 2  # RocksDB's own LOG files
_MEND = "if it is damaged, remove the folder: the process makes it anew from the log"


class Rows(Protocol):
    """What batches and timers ask of a store: ``Store``, and ``memory_store.MemoryStore`` where nothing is to be kept."""

    get: Callable[[bytes], bytes | None]

    def write(self, changes: Changes) -> None:
        """Applies the changes."""

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows from ``start`` on, in the order of their keys."""

    def first(self, start: bytes) -> bytes | None:
        """The first key at or after ``start``."""


def block_cache(tuning: Tuning) -> Cache:
    """The one block cache that all stores of a process share."""
    return Cache(tuning.block_cache_bytes)


def _options(tuning: Tuning, cache: Cache) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_max_open_files(tuning.open_files)
    options.set_write_buffer_size(tuning.write_buffer_bytes)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(_OLD_LOGS_KEPT)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_bloom_filter(_BLOOM_BITS_PER_KEY, False)
    options.set_block_based_table_factory(blocks)
    return options


class Store:
    """A RocksDB folder. Raises FatalError when it cannot be opened (another process holds it, a disk is full)."""

    def __init__(self, path: Path, tuning: Tuning, cache: Cache) -> None:
        self._path = path
        self._options = _options(tuning, cache)
        self._db = self._open()
        self.get: Callable[[bytes], bytes | None] = self._db.get
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True  # type: ignore[method-assign, assignment]  # a property, whatever its stub says

    def _open(self) -> Rdict:
        self._path.mkdir(parents=True, exist_ok=True)
        try:
            return Rdict(str(self._path), options=self._options)
        except Exception as error:
            raise FatalError(f"store {self._path}: cannot be opened: {error}; {_MEND}") from error

    def write(self, changes: Changes) -> None:
        """All of the changes or none, whatever kills the process."""
        self._write(changes, None)

    def _write(self, changes: Changes, options: WriteOptions | None) -> None:
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in changes:
            if value is None:
                delete(key)
            else:
                put(key, value)
        self._db.write(batch, options)

    def write_bulk(self, changes: Changes) -> None:
        """Like ``write``, but what is written may be lost with the process until ``flush``. For what can be read again."""
        self._write(changes, self._unlogged)

    def flush(self) -> None:
        """On return all that was written outlives the process."""
        self._db.flush()

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows from ``start`` on, in the order of their keys. Raises FatalError where a row cannot be read."""
        rows = self._rows_from(start)
        while rows.valid():
            yield rows.key(), rows.value()
            rows.next()
        self._check_read(rows)

    def first(self, start: bytes) -> bytes | None:
        """The first key at or after ``start``. Raises FatalError where it cannot be read."""
        rows = self._rows_from(start)
        if rows.valid():
            return cast(bytes, rows.key())
        self._check_read(rows)
        return None

    def _rows_from(self, start: bytes) -> RdictIter:
        rows = self._db.iter()
        rows.seek(start)
        return rows

    def _check_read(self, rows: RdictIter) -> None:
        """A damaged block ends an iteration just as the last row does; only its status tells them apart."""
        try:
            rows.status()
        except Exception as error:
            raise FatalError(f"store {self._path}: cannot be read: {error}; {_MEND}") from error

    def delete_range(self, start: bytes, end: bytes) -> None:
        """Deletes the keys in [start, end)."""
        self._db.delete_range(start, end)

    def wipe(self) -> None:
        """Empties the store: its rows were another log's."""
        self._db.close()
        shutil.rmtree(self._path)
        self._db = self._open()
        self.get = self._db.get

    def close(self) -> None:
        """Gives the folder free for another owner."""
        self._db.close()
