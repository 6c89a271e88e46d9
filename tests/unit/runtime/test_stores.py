"""Both kinds of store against the plain model: a dictionary, sorted."""

from __future__ import annotations

from random import Random

import pytest

from streams.runtime.store import Rows


def key_of(random: Random) -> bytes:
    return b"%s%04d" % (random.choice((b"", b"d", b"s", b"t")), random.randrange(3_000))


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_are_found_singly_and_in_order_whatever_was_added_and_removed(store: Rows, seed: int) -> None:
    random, model = Random(seed), dict[bytes, bytes]()
    for step in range(400):
        # More is added at first, more removed at last: until nothing is left.
        removes = random.random() < step / 250
        keys = random.sample(sorted(model), min(len(model), 40)) if removes else [key_of(random) for _ in range(40)]
        changes = [(key, None if removes else b"%d" % step) for key in keys]
        store.write(changes)
        for key, value in changes:
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        start = key_of(random)
        assert store.get(start) == model.get(start)
        assert store.first(start) == min((key for key in model if key >= start), default=None)
        if step % 10 == 0:
            assert list(store.items(start)) == sorted(row for row in model.items() if row[0] >= start)
    assert list(store.items(b"")) == sorted(model.items())


def test_of_one_write_the_last_change_of_a_row_counts(store: Rows) -> None:
    store.write([(b"a", b"1"), (b"a", None), (b"b", b"1"), (b"b", b"2"), (b"c", None)])
    assert list(store.items(b"")) == [(b"b", b"2")]


def test_whoever_iterates_finds_every_row_that_stays_whatever_is_written_meanwhile(store: Rows) -> None:
    stays = [b"%05d" % number for number in range(0, 20_000, 10)]
    comes = [b"%05d" % number for number in range(3, 20_000, 10)]
    store.write([(key, b"") for key in stays])
    found = []
    for number, (key, _) in enumerate(store.items(b"")):
        found.append(key)
        if number < len(stays):  # before and behind where they are
            store.write([(comes[number * 7 % len(comes)], b""), (comes[number * 3 % len(comes)], None)])
    assert [key for key in found if key.endswith(b"0")] == stays
    assert found == sorted(set(found))
