"""Template files ► template records: read, checked, email compiled from MJML. When publishing, never while events run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from jinja2 import TemplateError as JinjaError
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from mjml import mjml_to_html

from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.render.ceilings import TemplateError
from streams.render.email import language_of, words
from streams.render.engine import PARTS, CompiledTemplate
from streams.render.variables import KNOWN, RECORDS_WITH_DATA, Variable, declared

TEMPLATES = Path(__file__).with_name("templates")
LAYOUT = Path(__file__).with_name("email_layout.mjml")
# What the committed files are: published by the product, not by a person. A fixed time, so that loading them twice is no change.
PUBLISHED_AT = datetime(2026, 1, 1, tzinfo=UTC)
PUBLISHED_BY = "luxe"

_FILE_KEYS = {"template_id", "name", "category", "locales"}
_PARTS_OF: Mapping[str, Mapping[str, str]] = {  # channel → key in the file → part of the record
    "sms": {"body": "body"},
    "email": {"subject": "subject", "body": "body", "html": "html"},
    "push": {"title": "subject", "body": "body"},
    "in_app": {"title": "subject", "body": "body", "detail": "html"},
}
_FOOTER = (
    "{{ clinic_name }}{% if clinic_address %} | {{ clinic_address }}{% endif %}"
    '{% if privacy_url %}<br><a href="{{ privacy_url }}">PRIVACY</a>{% endif %}'
    '{% if unsubscribe_url %} | <a href="{{ unsubscribe_url }}">UNSUBSCRIBE</a>{% endif %}'
)
# What it shows is said in words below it: a reader that shows no pictures has nothing to read out.
_PICTURE = (
    "<mj-raw>{% if image_url %}</mj-raw>"
    '<mj-image src="{{ image_url }}" alt="" padding="0 24px 8px" />'
    "<mj-raw>{% endif %}</mj-raw>"
)
_PARSER = ImmutableSandboxedEnvironment()


def load_templates(catalog: Catalog | None = None, folder: Path = TEMPLATES) -> list[dict[str, Any]]:
    """Every template file as luxe.pipeline.Template records, in the order of ids. Raises TemplateError naming all faults."""
    return _checked(sorted(folder.glob("*.yaml")), catalog or Catalog.load())


def _checked(paths: Iterable[Path], catalog: Catalog) -> list[dict[str, Any]]:
    records = _event_records(catalog)
    pictured = frozenset(kind.template_id for kind in catalog.types.values() if kind.pictures)
    found: list[dict[str, Any]] = []
    faults: list[str] = []
    for path in paths:
        try:
            found += _records_of(path, records, pictured)
        except TemplateError as error:
            faults.append(f"{path.name}: {error}")
    if faults:
        raise TemplateError("\n".join(faults))
    return found


def _event_records(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """Template id → records of the events whose notifications use it."""
    found: dict[str, dict[str, None]] = {}
    for kind in catalog.types.values():
        for trigger in kind.triggers:
            found.setdefault(kind.template_id, {})[EVENT_TYPES[trigger.event].record] = None
    return {template_id: tuple(records) for template_id, records in found.items()}


def _records_of(path: Path, records: Mapping[str, tuple[str, ...]], pictured: Collection[str]) -> list[dict[str, Any]]:
    try:
        file = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise TemplateError(f"not YAML: {error}") from None
    if not isinstance(file, dict) or not isinstance(file.get("locales"), dict):
        raise TemplateError("expected a mapping with template_id, name, category and locales")
    if unknown := sorted(file.keys() - _FILE_KEYS):
        raise TemplateError(f"unknown key {unknown[0]}; use {', '.join(sorted(_FILE_KEYS))}")
    template_id = file.get("template_id")
    if template_id != path.stem:
        raise TemplateError(f"template_id must be {path.stem}, as the file is named")
    if template_id not in records:
        raise TemplateError("no notification type of the catalogue uses this template_id")
    if "en" not in file["locales"]:
        raise TemplateError("locales: en is missing; every language falls back to it")
    return [
        _record(file, locale, channel, parts, records[template_id], pictured=template_id in pictured)
        for locale, channels in file["locales"].items()
        for channel, parts in channels.items()
    ]


def _record(
    file: Mapping[str, Any],
    locale: str,
    channel: str,
    parts: Mapping[str, Any],
    records: tuple[str, ...],
    *,
    pictured: bool,
) -> dict[str, Any]:
    keys = _PARTS_OF.get(channel)
    if keys is None:
        raise TemplateError(f"{locale}: {channel} is no channel; use {', '.join(_PARTS_OF)}")
    if not isinstance(parts, dict) or (unknown := parts.keys() - keys.keys()):
        named = f"no {sorted(unknown)[0]}; " if isinstance(parts, dict) else ""
        raise TemplateError(f"{locale}.{channel}: {named}use {', '.join(keys)}")
    texts = dict.fromkeys(PARTS) | {keys[key]: _text(text, f"{locale}.{channel}.{key}") for key, text in parts.items()}
    if channel == "email":
        texts["html"] = email_html(texts["body"] or "", texts["html"], locale, pictured=pictured)
    row: dict[str, Any] = {
        "template_id": file["template_id"],
        "channel": channel,
        "locale": locale,
        "version": 1,  # Postgres counts them up as they are published
        "status": "active",
        "name": file.get("name", file["template_id"]),
        "category": file.get("category", ""),
        **texts,
        "variables": [],
        "created_at": PUBLISHED_AT,
        "created_by": PUBLISHED_BY,
        "activated_at": PUBLISHED_AT,
    }
    row["variables"] = variables_of(texts, records)
    compiled = CompiledTemplate(row)
    for record in records:
        compiled.bound_to(record)
    return row


def _text(text: Any, where: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise TemplateError(f"{where}: expected a text")
    return text.strip()


def variables_of(texts: Mapping[str, str | None], records: tuple[str, ...]) -> list[dict[str, Any]]:
    """The variables that the texts use, each with its type and level. Raises TemplateError for a name no event has."""
    names: set[str] = set()
    for part, text in texts.items():
        try:
            names |= meta.find_undeclared_variables(_PARSER.parse(text or ""))
        except JinjaError as error:
            raise TemplateError(f"{part}, line {getattr(error, 'lineno', 1)}: {error}") from None
    return [_variable(name, records) for name in sorted(names)]


def _variable(name: str, records: tuple[str, ...]) -> dict[str, Any]:
    # Any type may be asked for by name, with its variables in a map; a type that only that event has says its own fields.
    own = [record for record in records if record not in RECORDS_WITH_DATA] or records
    variables = [(record, declared(name, record)) for record in own]
    missing = [record for record, variable in variables if variable is None]
    known: list[Variable] = [variable for _, variable in variables if variable is not None] or (
        [KNOWN[name]] if name in KNOWN else []
    )
    if missing or not known:
        of = missing[0] if missing else ", ".join(records)
        raise TemplateError(f"there is no variable {name}: not one that every template has, nor a field of {of}")
    first = known[0]
    return {
        "name": name,
        "type": first.type,
        "required": False,
        "default": None,
        "level": max(variable.level for variable in known),
        "description": first.description,
        "example": first.example,
    }


# Email

_TAG = re.compile(r"(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})", re.DOTALL)
_TAG_LINE = re.compile(r"(?:\{%(?:(?!%\}).)*%\}\s*)+")
_URL_VARIABLE = re.compile(r"\{\{\s*(\w*_url|url)\s*\}\}")
_BARE_URL = re.compile(r"https?://[^\s<>\"{}]+")
_BETWEEN_TAGS = re.compile(r">\s+<")
_LEADING_SPACE = re.compile(r"\n\s*")


def email_html(body: str, mjml: str | None, locale: str = "en", *, pictured: bool = False) -> str:
    """The whole HTML of an email: the layout around ``mjml`` (inside one column), or around the text body where there is none.

    ``locale``: of the text; the page's language and the footer's words follow it. ``pictured``: it begins with the campaign's
    picture, where that has one.
    """
    if mjml is not None:
        return _compiled(_layout(locale, pictured).replace("CONTENT", mjml))
    return _shell(locale, pictured).replace("CONTENT", html_of(body))


@cache
def _shell(locale: str, pictured: bool) -> str:
    return _compiled(_layout(locale, pictured).replace("CONTENT", "<mj-text>CONTENT</mj-text>"))


def _layout(locale: str, pictured: bool) -> str:
    said = words(locale)
    footer = _FOOTER.replace("PRIVACY", said["privacy"]).replace("UNSUBSCRIBE", said["unsubscribe"])
    layout = LAYOUT.read_text(encoding="utf-8").replace("LANGUAGE", language_of(locale))
    return layout.replace("FOOTER", footer).replace("PICTURE", _PICTURE if pictured else "")


def _compiled(mjml: str) -> str:
    result = mjml_to_html(StringIO(mjml))
    if result.errors:
        raise TemplateError(f"html: MJML: {result.errors[0]}")
    html = _LEADING_SPACE.sub("\n", result.html.strip())
    return _BETWEEN_TAGS.sub("><", html)


def html_of(text: str) -> str:
    """A text body as HTML: paragraphs, ``- `` lists, links. Jinja's tags stay as they are; lines of tags alone are no lines."""
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in block.split("\n")]
        said = [index for index, line in enumerate(lines) if not _TAG_LINE.fullmatch(line)]
        if said and all(lines[index].startswith("- ") for index in said):
            for index in said:
                lines[index] = f"<li>{_inline(lines[index][2:])}</li>"
            blocks.append(f"<ul>{''.join(lines)}</ul>")
        else:
            for index in said:
                lines[index] = _inline(lines[index]) + ("<br>" if index < said[-1] else "")
            blocks.append(f"<p>{''.join(lines)}</p>")
    return "".join(blocks)


def _inline(text: str) -> str:
    pieces = _TAG.split(text)
    # Every other piece is a tag of Jinja's.
    pieces[::2] = [_BARE_URL.sub(_link, escape(piece, quote=False)) for piece in pieces[::2]]
    return _URL_VARIABLE.sub(r'<a href="{{ \1 }}">{{ \1 }}</a>', "".join(pieces))


def _link(found: re.Match[str]) -> str:
    return f'<a href="{found[0]}">{found[0]}</a>'
