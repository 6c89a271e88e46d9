"""Kafka's jars: pinned, complete, and never half."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import requests
from jgo.util import http

from connectors.stack.errors import CorruptDownload, MissingDownload
from connectors.stack.kafka_jars import LOCK_FILE, Jar, cache_directory, fetch_jars, kafka_version, locked_jars

CONTENT = b"the bytes of a jar"


def jar(content: bytes = CONTENT, artifact: str = "kafka-clients") -> Jar:
    return Jar("org.apache.kafka", artifact, "4.3.1", hashlib.sha256(content).hexdigest(), len(content))


class Answer:
    """A registry's answer, as much of it as the resolver reads."""

    def __init__(self, content: bytes, *, breaks_off: bool = False, status: int = 200) -> None:
        self.content, self.breaks_off, self.status_code = content, breaks_off, status
        self.headers = {"content-length": str(len(content))}
        self.text = hashlib.sha1(content, usedforsecurity=False).hexdigest()

    def iter_content(self, chunk_size: int) -> Any:
        yield self.content[: chunk_size // 2] if not self.breaks_off else self.content[:4]
        if self.breaks_off:
            raise requests.ConnectionError("the line went dead")


def answer_with(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[str]:
    asked: list[str] = []

    def get(_method: str, url: str, **_options: Any) -> Answer:
        asked.append(url)
        return answer

    monkeypatch.setattr(http, "request", get)
    return asked


def quiet(_here_bytes: int, _total_bytes: int) -> None:
    """Progress nobody looks at."""


def test_the_lock_pins_a_broker_and_its_logging_by_hash_and_names_no_host() -> None:
    jars = locked_jars()
    assert kafka_version(jars).startswith("4.3.")
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) and jar.size_bytes > 0 for jar in jars)
    assert len({(jar.group, jar.artifact) for jar in jars}) == len(jars)
    assert {"kafka-clients", "log4j-core", "log4j-slf4j-impl"} <= {jar.artifact for jar in jars}
    assert "//" not in LOCK_FILE.read_text()


def test_a_line_of_the_lock_reads_back() -> None:
    assert Jar.from_line(jar().to_line()) == jar()


def test_a_jar_is_fetched_once_and_progress_reaches_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer_with(monkeypatch, Answer(CONTENT))
    told: list[tuple[int, int]] = []
    (path,) = fetch_jars([jar()], tmp_path, lambda *progress: told.append(progress))
    assert path.read_bytes() == CONTENT
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    asked.clear()
    assert fetch_jars([jar()], tmp_path, quiet) == [path]
    assert not asked


def test_a_download_that_breaks_off_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, Answer(CONTENT, breaks_off=True))
    with pytest.raises(MissingDownload, match="ConnectionError") as missing:
        fetch_jars([jar()], tmp_path, quiet)
    assert "network" in missing.value.mend
    assert list((tmp_path / "jars").iterdir()) == []


def test_a_file_cut_short_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, Answer(CONTENT))
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / jar().file_name).write_bytes(CONTENT[:5])
    (path,) = fetch_jars([jar()], tmp_path, quiet)
    assert path.read_bytes() == CONTENT


def test_other_bytes_than_the_pinned_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, Answer(b"the bytes of a jaR"))
    with pytest.raises(CorruptDownload, match="another SHA-256"):
        fetch_jars([jar()], tmp_path, quiet)
    assert list((tmp_path / "jars").iterdir()) == []


def test_what_the_registry_does_not_have_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, Answer(b"", status=404))
    with pytest.raises(MissingDownload, match="kafka-clients"):
        fetch_jars([jar()], tmp_path, quiet)


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUXE_CACHE_DIR", str(tmp_path / "chosen"))
    assert cache_directory() == tmp_path / "chosen"
    monkeypatch.delenv("LUXE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "luxe-notify"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache" / "luxe-notify"
