"""The template engine: Jinja2, sandboxed and strict; compiled once a template version, bound once an event record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, Template, meta
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import escape

from streams.render.ceilings import REQUIRED_PARTS, Part, TemplateError, check
from streams.render.straight import Render, straight
from streams.render.variables import Facts, VariableType, declared, resolver, value

# URLs that never become short links: they must work where we are away, people judge a message by them, or nobody follows them.
LEFT_ALONE = frozenset({"unsubscribe_url", "logo_url", "privacy_url", "image_url"})

PARTS: tuple[Part, ...] = ("subject", "body", "html")
# A text that takes longer to write than to read is a mistake; providers refuse far less.
MAX_RENDERED_CHARACTERS = 512 * 1024


def _environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=autoescape, cache_size=0)
    environment.globals.clear()  # no range, no cycler: a text has no business with them
    return environment


# A line of tags alone leaves no line behind; a tag at the end of a line of text keeps its break (trim_blocks would not).
_TAG_LINE = re.compile(r"^[ \t]*((?:\{%(?:(?!%\}).)*%\}[ \t]*)+)\n", re.MULTILINE)
_SPECIAL = re.compile("[&<>\"']").search
_TEXT = _environment(autoescape=False)
_HTML = _environment(autoescape=True)


class Rendered(NamedTuple):
    """A message's texts in one language. ``html`` None: the channel has none."""

    subject: str | None
    body: str
    html: str | None

    def __repr__(self) -> str:
        return f"<Rendered body of {len(self.body)} characters>"


class CompiledTemplate:
    """One version of a template for one channel and locale, from its record (luxe.pipeline.Template).

    Raises TemplateError: a syntax error, a missing part, a variable that is not declared or above its surface's ceiling.
    """

    __slots__ = ("_bound", "_declared", "_parts", "channel", "locale", "names", "template_id", "version")

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.template_id: str = row["template_id"]
        self.channel: str = row["channel"]
        self.locale: str = row["locale"]
        self.version: int = row["version"]
        self._declared: dict[str, tuple[VariableType, int]] = {
            v["name"]: (v["type"], v["level"]) for v in row["variables"]
        }
        self._parts: dict[Part, tuple[Render, frozenset[str]]] = {}
        for part in PARTS:
            source = row[part]
            if source is not None:
                self._parts[part] = self._compiled(part, source)
        for part in REQUIRED_PARTS[self.channel]:
            if part not in self._parts:
                raise TemplateError(f"{self.where}: {self.channel} needs a {part}; add it")
        self.names = frozenset().union(*(names for _, names in self._parts.values()))
        self._bound: dict[str, Binding] = {}

    @property
    def where(self) -> str:
        """Which template, for errors."""
        return f"template {self.template_id}/{self.channel}/{self.locale} version {self.version}"

    def _compiled(self, part: Part, source: str) -> tuple[Render, frozenset[str]]:
        environment = _HTML if part == "html" and self.channel == "email" else _TEXT
        source = _TAG_LINE.sub(r"\1", source)
        try:
            tree = environment.parse(source)
            names = frozenset(meta.find_undeclared_variables(tree))
            render = straight(tree, _escaped if environment is _HTML else str) or _by_jinja(
                environment.from_string(source)
            )
        except JinjaError as error:
            raise TemplateError(f"{self.where}: {part}, line {getattr(error, 'lineno', 1)}: {error}") from None
        unknown = sorted(names - self._declared.keys())
        if unknown:
            raise TemplateError(f"{self.where}: {part} uses {', '.join(unknown)}, which it does not declare")
        check(self.channel, part, {name: self._declared[name][1] for name in sorted(names)}, self.where)
        return render, names

    def bound_to(self, record: str) -> Binding:
        """Ready for events of one record. Raises TemplateError: a variable they lack, or hold above the ceiling."""
        binding = self._bound.get(record)
        if binding is None:
            binding = self._bound[record] = self._bind(record)
        return binding

    def _bind(self, record: str) -> Binding:
        resolvers = []
        for name in sorted(self.names):
            try:
                resolvers.append((name, resolver(name, record, self._declared[name][0])))
            except LookupError as error:
                raise TemplateError(f"{self.where}: {error.args[0]}") from None
        for part, (_, names) in self._parts.items():
            # What the schema says today counts, not only what the template declared when it was published.
            levels = {name: self._declared[name][1] for name in sorted(names)}
            for name in levels:
                variable = declared(name, record)
                if variable is not None:
                    levels[name] = max(levels[name], variable.level)
            check(self.channel, part, levels, self.where)
        parts = {part: render for part, (render, _) in self._parts.items()}
        urls = tuple(name for name in sorted(self.names - LEFT_ALONE) if self._declared[name][0] == "url")
        return Binding(self.where, tuple(resolvers), parts, urls)


class Binding:
    """A compiled template bound to an event record: resolvers of exactly the variables it uses."""

    __slots__ = ("_body", "_html", "_resolvers", "_subject", "_urls", "_where")

    def __init__(
        self,
        where: str,
        resolvers: tuple[tuple[str, Callable[[Facts], Any]], ...],
        parts: Mapping[Part, Render],
        urls: tuple[str, ...],
    ) -> None:
        self._where = where
        self._resolvers = resolvers
        self._urls = urls
        self._subject, self._body, self._html = parts.get("subject"), parts["body"], parts.get("html")

    def render(self, facts: Facts, shorten: Callable[[str], str] | None = None) -> Rendered:
        """The texts; ``shorten`` says what stands for a URL. Raises TemplateError, which names the template, never a value."""
        try:
            values = {name: value(name, resolve, facts) for name, resolve in self._resolvers}
            if shorten is not None:
                for name in self._urls:
                    values[name] = shorten(values[name])
            subject = None if self._subject is None else self._subject(values)
            body = self._body(values)
            html = None if self._html is None else self._html(values)
        except (JinjaError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Jinja's own words may quote a value, so only the kind of error is told.
            raise TemplateError(
                f"{self._where}: {type(error).__name__} while rendering; preview it with this event type"
            ) from None
        if len(body) > MAX_RENDERED_CHARACTERS or (html is not None and len(html) > MAX_RENDERED_CHARACTERS):
            raise TemplateError(f"{self._where}: more than {MAX_RENDERED_CHARACTERS} characters")
        return Rendered(subject, body, html)


def _escaped(found: Any) -> str:
    """A value for HTML. Most have nothing to escape, and looking costs a third of escaping."""
    text = str(found)
    return text if _SPECIAL(text) is None else str(escape(text))


def _by_jinja(template: Template) -> Render:
    def render(values: Mapping[str, Any]) -> str:
        # What Template.render does, without copying the values once more.
        return "".join(template.root_render_func(template.new_context(dict(values), shared=True)))

    return render
