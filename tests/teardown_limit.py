"""A teardown that never ends, ends its process: the tests' own time limit does not reach it.

pytest-timeout rings once a test. A test that it stopped has its fixtures torn down without any limit, and of an asynchronous one
that waits for what will not come the whole run would wait. The process says where each thread stands and exits with 1; what the
session started sees its owner gone and stops, and ``-n`` goes on with another process.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Generator

import pytest

# Of one test, its session's included if it was the last: the stack's services are given some 30 s each.
TEARDOWN_SECONDS = 300.0


class TeardownLimit:
    """The hooks of a process that runs tests. Make it while pytest configures itself: output is not captured then."""

    def __init__(self, seconds: float = TEARDOWN_SECONDS) -> None:
        self._seconds = seconds
        self._stderr = os.dup(2)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None]:
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._stderr)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()
