"""No nonce is ever given out twice: across refills, across threads, across a fork."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from connectors.sealing.nonces import NONCE_BYTES, nonce


def test_threads_never_share_a_nonce() -> None:
    def take(_: int) -> list[bytes]:
        return [nonce() for _ in range(5_000)]

    with ThreadPoolExecutor(8) as pool:
        taken = [one for many in pool.map(take, range(8)) for one in many]
    assert len(set(taken)) == len(taken) == 40_000
    assert {len(one) for one in taken} == {NONCE_BYTES}


def test_a_child_does_not_repeat_its_parents() -> None:
    nonce()  # the parent holds a block now
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, b"".join(nonce() for _ in range(64)))
        os._exit(0)
    os.waitpid(child, 0)
    of_child = os.read(read_end, 64 * NONCE_BYTES)
    os.close(read_end)
    os.close(write_end)
    mine = {nonce() for _ in range(64)}
    assert not mine & {of_child[start : start + NONCE_BYTES] for start in range(0, len(of_child), NONCE_BYTES)}
