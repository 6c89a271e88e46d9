"""Template files: every fault named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.catalog import Catalog
from streams.render.ceilings import TemplateError
from streams.render.sources import load_templates

CATALOG = Catalog.load()
GOOD = """
template_id: appointment_confirmation
name: Confirmed
category: transactional
locales:
  en:
    sms: {body: "Hi {{ first_name }}"}
    email: {subject: Confirmed, body: "With {{ provider }}"}
    push: {title: Confirmed, body: See you}
    in_app: {title: Confirmed, body: See you, detail: "{{ service }}"}
"""


def load(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "appointment_confirmation.yaml").write_text(text)
    return [f"{row['channel']}/{row['locale']}" for row in load_templates(CATALOG, tmp_path)]


def test_one_record_a_channel_and_language(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD) == ["sms/en", "email/en", "push/en", "in_app/en"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("template_id: appointment_confirmation", "template_id: other", "template_id must be appointment_confirmation"),
        ("category:", "kategory:", "unknown key kategory"),
        ("  en:", "  de:", "en is missing"),
        ("    sms:", "    fax:", "fax is no channel"),
        ("{title: Confirmed, body: See you}", "{subject: Confirmed, body: x}", "no subject; use title, body"),
        ('"Hi {{ first_name }}"', '""', "en.sms.body: expected a text"),
        ('"Hi {{ first_name }}"', '"{{ first_nam }}"', "there is no variable first_nam"),
        ('"Hi {{ first_name }}"', '"{{ provider }}"', "provider is level 2, sms body shows level 1"),
        ('"Hi {{ first_name }}"', '"{% if %}"', "body, line 1"),
        ("locales:", "locales: [", "not YAML"),
    ],
)
def test_faults(tmp_path: Path, old: str, new: str, fault: str) -> None:
    with pytest.raises(TemplateError, match=r"appointment_confirmation\.yaml: ") as refusal:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert fault in str(refusal.value)


def test_a_file_that_no_type_uses(tmp_path: Path) -> None:
    (tmp_path / "nobody.yaml").write_text(GOOD.replace("appointment_confirmation", "nobody"))
    with pytest.raises(TemplateError, match="no notification type of the catalogue uses"):
        load_templates(CATALOG, tmp_path)
