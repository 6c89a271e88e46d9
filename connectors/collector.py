"""The garbage collector's pace in processes that handle many small objects, nearly all of which die by their reference count."""

from __future__ import annotations

import gc

# Python's own pace is a look at the young after 700 new objects. A message makes some 500 and a batch tens of thousands,
# and looking finds nothing: it was 20 % of the SMS sink's time a message, and 17 % of the ingester's. Cycles (errors with their
# traces) are still found, later.
YOUNG_OBJECTS = 50_000
_MIDDLE, _OLD = 20, 20


def collect_rarely(young_objects: int = YOUNG_OBJECTS) -> None:
    """To be called once all is imported and set up: what lives by then (300,000 objects of libraries) is not looked at again.

    ``young_objects``: more where one batch alone is more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(young_objects, _MIDDLE, _OLD)
