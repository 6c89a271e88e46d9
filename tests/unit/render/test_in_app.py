"""What an in-app message carries beside its text: what it is about, how it behaves, and buttons in its language."""

from __future__ import annotations

from typing import get_args

import orjson
import pytest

from streams.catalog import Catalog
from streams.catalog_model import ActionName, InApp
from streams.render.engine import Rendered
from streams.render.in_app import content, said
from streams.rules.timing import Duration


def test_what_it_is_about_and_how_it_behaves() -> None:
    rendered = Rendered(subject="Assistance\nneeded", body="Room 3", html="Now")
    behaviour = InApp(acknowledge="shared", auto_dismiss=Duration.parse("PT20S"), actions=("open",))
    made = content(rendered, "staff:s1", "treatment", "t1", behaviour, "en")
    assert (made["to"], made["subject"], made["html"]) == ("staff:s1", "Assistance needed", "Now")
    data = dict(made["data"])
    actions = orjson.loads(data.pop("actions"))
    assert data == {
        "aggregate_type": "treatment",
        "aggregate_id": "t1",
        "acknowledge": "shared",
        "auto_dismiss_seconds": "20",
    }
    assert [action["name"] for action in actions] == ["acknowledge", "open"]


@pytest.mark.parametrize(("locale", "label"), [("es-MX", "Confirmar"), ("en-GB", "Confirm"), ("fr", "Confirm")])
def test_buttons_speak_the_texts_language(locale: str, label: str) -> None:
    assert orjson.loads(said(InApp(actions=("confirm",)), locale)["actions"]) == [{"name": "confirm", "label": label}]


def test_every_button_has_words() -> None:
    for name in get_args(ActionName):
        assert said(InApp(actions=(name,)), "en")["actions"]
    assert said(InApp(), "en") == {}


def test_every_alert_of_the_catalogue_can_be_taken_and_nothing_of_a_patients() -> None:
    for kind in Catalog.load().types.values():
        alert = kind.recipient_kind == "staff" and kind.lane in ("critical", "high") and kind.category == "real_time"
        assert (kind.in_app.acknowledge != "none") >= alert, kind.name
        assert kind.recipient_kind == "staff" or kind.in_app.acknowledge == "none", kind.name
