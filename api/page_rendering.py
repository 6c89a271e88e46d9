"""Pages for browsers: everything escaped, texts in English and Spanish, and headers that let a page do nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime, time, tzinfo
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml
from aiohttp import web
from babel.dates import format_date, format_time
from jinja2 import Environment, PackageLoader, StrictUndefined

LANGUAGES = ("en", "es")
# How each is spoken where our clinics are.
_SPOKEN = {"en": "en_US", "es": "es_US"}
_FOLDER = files("api") / "templates"


class Look(NamedTuple):
    """A page's style, and what else of our own it may use."""

    style: str
    policy: str


def _look(*styles: str, more: tuple[str, ...] = ()) -> Look:
    """The page's own style and forms to ourselves, and ``more``; no pictures, frames, or anything of anybody else's."""
    style = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in styles)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    said = (f"style-src 'sha256-{digest}'", *more, "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'")
    return Look(style, "; ".join(("default-src 'none'", *said)))


PLAIN = _look("page.css.j2")  # no script at all
INBOX = _look("page.css.j2", "inbox.css.j2", more=("script-src 'self'", "connect-src 'self'"))
SCRIPT = (_FOLDER / "inbox.js.j2").read_text(encoding="utf-8")
# In its address, so that browsers may keep it for ever.
SCRIPT_VERSION = hashlib.sha256(SCRIPT.encode()).hexdigest()[:16]
# A link's token is in the path: no page passes it on, no cache keeps it, no search engine lists it.
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}
_PAGES = Environment(
    loader=PackageLoader("api", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def language_of(locale: str | None, asked: str | None = None) -> str:
    """The language of a page: as asked for, else the person's, else English."""
    for wanted in (asked, locale):
        language = (wanted or "").partition("-")[0].lower()
        if language in LANGUAGES:
            return language
    return LANGUAGES[0]


@cache
def texts(language: str) -> Mapping[str, Any]:
    """Every text of the pages in a language."""
    found: Mapping[str, Mapping[str, Any]] = yaml.safe_load((_FOLDER / "texts.yaml").read_text(encoding="utf-8"))
    return found[language]


@cache
def outcomes(language: str) -> Mapping[str, str]:
    """What became of a waitlist's offer, or of a question about an appointment, by how it stands, each in a paragraph."""
    told, asked = texts(language)["offer"], texts(language)["question"]
    return {
        word: " ".join((f"{told[word]['title']}.", *told[word]["lines"]))
        for word in ("claimed", "declined", "taken", "over")
    } | {word: asked[word] for word in ("confirmed", "moving", "changed", "begun")}


@cache
def hours(language: str) -> Mapping[str, str]:
    """The hours of a day as people say them, by their number."""
    return {str(hour): format_time(time(hour), "short", locale=_SPOKEN[language]) for hour in range(24)}


def moment(at: datetime, zone: tzinfo, language: str) -> str:
    """A day and its time as people write them."""
    spoken, there = _SPOKEN[language], at.astimezone(zone)
    return f"{format_date(there, 'medium', locale=spoken)}, {format_time(there.time(), 'short', locale=spoken)}"


def accepted_language(request: web.Request) -> str:
    """The browser's first language."""
    return request.headers.get("Accept-Language", "").split(",")[0].strip()


def page(
    name: str,
    language: str,
    *,
    look: Look = PLAIN,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> web.Response:
    """A page as it is answered; ``name`` is its template's."""
    body = _PAGES.get_template(f"{name}.html.j2").render(
        t=texts(language),
        language=language,
        other=next(one for one in LANGUAGES if one != language),
        style=look.style,
        script_version=SCRIPT_VERSION,
        **values,
    )
    always = {"Content-Security-Policy": look.policy, **HEADERS}
    return web.Response(
        text=body, status=status, content_type="text/html", charset="utf-8", headers={**always, **(headers or {})}
    )


def notice(kind: str, language: str, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """A page that only says something: done, expired, unreadable, not_now, unusable."""
    return page("notice", language, status=status, headers=headers, kind=kind)
