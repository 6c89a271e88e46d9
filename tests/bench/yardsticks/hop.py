"""Our own hop, `intake` or `notify`, exactly as it runs, on its own topics: timed from its first batch to the last commit."""

from __future__ import annotations

import os
import sys
import threading
import time

from connectors.settings import Settings
from streams.app import build_notify
from streams.intake import build_intake
from streams.runtime import RuntimeApp
from tests.bench.yardsticks.work import Stopwatch, Task

POLL_SECONDS = 0.001


def _watch(app: RuntimeApp, task: Task) -> None:
    watch, metrics = Stopwatch(task.events), app.metrics
    while not metrics.batches:
        time.sleep(POLL_SECONDS)
    watch.start()
    while metrics.events < task.events or metrics.commits < metrics.batches:
        if metrics.dead_letters:
            print(
                f"{metrics.dead_letters} dead letters: the benchmark's events are not handled",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)
        time.sleep(POLL_SECONDS)
    watch.done, watch.outputs = metrics.events, metrics.outputs
    watch.tell()
    os._exit(0)


def main() -> None:
    task, settings = Task.given(), Settings()
    app = build_intake(settings) if task.hop == "intake" else build_notify(settings)
    threading.Thread(target=_watch, args=(app, task), daemon=True).start()
    app.run()


if __name__ == "__main__":
    main()
