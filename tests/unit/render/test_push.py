"""What a push message carries beside its text: ids and buttons in its language, nothing else."""

from __future__ import annotations

import orjson
import pytest

from streams.catalog_model import InApp
from streams.render.engine import Rendered
from streams.render.push import content

RENDERED = Rendered(subject="Your appointment\nis near", body="Open the app.", html=None)
IDS = {"notification_id": "n", "notification_type": "appointment_reminder_48h"}


@pytest.mark.parametrize(
    ("behaviour", "locale", "actions"),
    [
        (InApp(), "en", None),
        (InApp(actions=("confirm",)), "en-GB", [{"name": "confirm", "label": "Confirm"}]),
        (InApp(actions=("confirm",)), "es-MX", [{"name": "confirm", "label": "Confirmar"}]),
        (
            *(InApp(acknowledge="own", actions=("open",)), "fr"),
            [{"name": "acknowledge", "label": "I've got it"}, {"name": "open", "label": "Open"}],
        ),
    ],
)
def test_buttons_are_those_of_the_inbox_in_the_texts_language(
    behaviour: InApp, locale: str, actions: list[dict[str, str]] | None
) -> None:
    made = content(
        RENDERED, ("phone:1", "phone:2"), IDS["notification_id"], IDS["notification_type"], behaviour, locale
    )
    assert (made["to"], made["subject"], made["body"]) == (
        "phone:1 phone:2",
        "Your appointment is near",
        "Open the app.",
    )
    data = dict(made["data"])
    told = data.pop("actions", None)
    assert data == IDS
    assert (None if told is None else orjson.loads(told)) == actions
