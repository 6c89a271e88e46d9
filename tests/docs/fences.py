"""What stands in our Markdown: fenced blocks, and every `luxe …` command line in them and between them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(
    r"^(?:<!-- executed by tests/docs: (?P<mark>[\w-]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_INLINE = re.compile(r"`([^`\n]+)`")
_PROGRAM = re.compile(r"^(?:\.venv/bin/)?luxe(?= [a-z-])")
# What ends one command and begins the next.
_BETWEEN = frozenset({"|", "||", "&&", ";", "&"})
_SHELLS = frozenset({"", "sh", "bash", "console"})


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block. ``mark``: its name where it is to be executed, else None."""

    page: Path
    language: str
    text: str
    mark: str | None


@dataclass(frozen=True, slots=True)
class CommandLine:
    """One `luxe` command. ``whole``: a line of a fenced block, to be typed as it stands, and not a mention in a sentence."""

    page: Path
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: luxe {shlex.join(self.words)}"


def fences(page: Path) -> list[Fence]:
    """Every fenced block of a page."""
    return [
        Fence(page, found["language"], found["text"], found["mark"])
        for found in _FENCE.finditer(page.read_text(encoding="utf-8"))
    ]


def command_lines(page: Path) -> Iterator[CommandLine]:
    """Every `luxe …` of a page, without the program's own name."""
    for fence in fences(page):
        if fence.language in _SHELLS:
            for line in fence.text.splitlines():
                yield from _split(page, line.strip().removeprefix("$ "), whole=True)
    for found in _INLINE.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        # An ellipsis stands for what the reader fills in, or for the rest of a message of ours.
        if "…" not in found[1]:
            yield from _split(page, found[1], whole=False)


def _split(page: Path, text: str, *, whole: bool) -> Iterator[CommandLine]:
    if not _PROGRAM.match(text):
        return
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, ";"):
        if word not in _BETWEEN:
            words.append(word)
            continue
        if words and words[0].endswith("luxe"):
            yield CommandLine(page, tuple(words[1:]), whole)
        words = []
