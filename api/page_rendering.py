"""Pages for browsers: everything escaped, texts in English and Spanish, and headers that let a page do nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import time
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from aiohttp import web
from babel.dates import format_time
from jinja2 import Environment, PackageLoader, StrictUndefined

LANGUAGES = ("en", "es")
# How each is spoken where our clinics are.
_SPOKEN = {"en": "en_US", "es": "es_US"}
_FOLDER = files("api") / "templates"
STYLE = (_FOLDER / "page.css.j2").read_text(encoding="utf-8")

# The page's own style and forms to ourselves; no scripts, pictures, frames, or anything of anybody else's.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
# A link's token is in the path: no page passes it on, no cache keeps it, no search engine lists it.
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
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
def hours(language: str) -> Mapping[str, str]:
    """The hours of a day as people say them, by their number."""
    return {str(hour): format_time(time(hour), "short", locale=_SPOKEN[language]) for hour in range(24)}


def page(
    name: str, language: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> web.Response:
    """A page as it is answered; ``name`` is its template's."""
    body = _PAGES.get_template(f"{name}.html.j2").render(
        t=texts(language),
        language=language,
        other=next(one for one in LANGUAGES if one != language),
        style=STYLE,
        **values,
    )
    return web.Response(
        text=body, status=status, content_type="text/html", charset="utf-8", headers={**HEADERS, **(headers or {})}
    )


def notice(kind: str, language: str, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    """A page that only says something: done, expired, unreadable, not_now, unusable."""
    return page("notice", language, status=status, headers=headers, kind=kind)
