"""Kafka's jars: pinned by coordinate and SHA-256, fetched once per user from Maven Central, never half.

``python -m connectors.stack.kafka_jars VERSION`` resolves Kafka's dependencies anew and rewrites the lock file.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.maven import MavenContext, PythonResolver

from connectors.stack.errors import CorruptDownload, MissingDownload, naming_disk_errors

LOCK_FILE = Path(__file__).with_name("kafka_jars.lock")
KAFKA_ARTIFACT = ("org.apache.kafka", "kafka_2.13")
# Kafka's own choice of logging binding, for the SLF4J 1.7 it is built with.
LOG_BINDING = ("org.apache.logging.log4j", "log4j-slf4j-impl")
LOG_CORE = ("org.apache.logging.log4j", "log4j-core")

DOWNLOADS_AT_ONCE = 6
TIMEOUT_SECONDS = 30

Progress = Callable[[int, int], None]
"""Told (bytes here, bytes in all) as jars arrive."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        return f"{self.group}.{self.artifact}-{self.version}.jar"

    def to_line(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version} {self.sha256} {self.size_bytes}"

    @classmethod
    def from_line(cls, line: str) -> Jar:
        coordinate, sha256, size_bytes = line.split()
        group, artifact, version = coordinate.split(":")
        return cls(group, artifact, version, sha256, int(size_bytes))


def locked_jars(lock_file: Path = LOCK_FILE) -> list[Jar]:
    """The pinned jars, in class path order."""
    lines = lock_file.read_text().splitlines()
    return [Jar.from_line(line) for line in lines if line and not line.startswith("#")]


def kafka_version(jars: list[Jar]) -> str:
    """The version of the broker among the pinned jars."""
    return next(jar.version for jar in jars if (jar.group, jar.artifact) == KAFKA_ARTIFACT)


def cache_directory() -> Path:
    """Where downloads are kept for every clone of this user: LUXE_CACHE_DIR, else XDG's cache, else ~/.cache."""
    if chosen := os.environ.get("LUXE_CACHE_DIR"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "luxe-notify"


def fetch_jars(jars: list[Jar], cache: Path, progress: Progress, *, offline: bool = False) -> list[Path]:
    """The jars' paths in ``cache``, after fetching those that are not there.

    A jar reaches its name in the cache only whole and with the pinned hash, so a download cut off at any point, or two
    at once, do no harm. Raises MissingDownload, CorruptDownload, DiskUnusable.
    """
    folder = cache / "jars"
    paths = {jar: folder / jar.file_name for jar in jars}
    absent = [jar for jar in jars if not _is_whole(paths[jar], jar)]
    total_bytes = sum(jar.size_bytes for jar in jars)
    if not absent:
        return list(paths.values())
    if offline:
        raise _missing(absent, "and downloading is switched off")
    with naming_disk_errors(folder, "LUXE_CACHE_DIR"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        counted = _Counter(progress, total_bytes - sum(jar.size_bytes for jar in absent), total_bytes)
        with (
            _trusting_what_this_machine_trusts(),
            tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial,
            ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool,
        ):
            largest_first = sorted(absent, key=lambda jar: -jar.size_bytes)
            downloads = {pool.submit(_fetch, jar, paths[jar], Path(partial), counted): jar for jar in largest_first}
            try:
                for download in as_completed(downloads):
                    download.result()
            except requests.exceptions.SSLError as error:
                pool.shutdown(cancel_futures=True)
                raise MissingDownload(
                    "Kafka's jars cannot be fetched: the certificate of Maven Central is not one this machine trusts",
                    "set REQUESTS_CA_BUNDLE to the file of your network's certificates",
                ) from error
            except requests.RequestException as error:
                pool.shutdown(cancel_futures=True)
                raise _missing(absent, f"and the network gives {type(error).__name__}") from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return list(paths.values())


@contextmanager
def _trusting_what_this_machine_trusts() -> Iterator[None]:
    """Has `requests` verify by the machine's certificates, where it keeps any and nobody chose others.

    Its own frozen list lacks those that a company's network adds.
    """
    chosen = any(os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    known = ssl.get_default_verify_paths()
    trusted = known.cafile or known.capath
    if chosen or not trusted:
        yield
        return
    os.environ["REQUESTS_CA_BUNDLE"] = trusted
    try:
        yield
    finally:
        del os.environ["REQUESTS_CA_BUNDLE"]


def _missing(absent: list[Jar], why: str) -> MissingDownload:
    size_mb = sum(jar.size_bytes for jar in absent) / 1e6
    return MissingDownload(
        f"{len(absent)} of Kafka's jars ({size_mb:.0f} MB) are not in {cache_directory()}, {why}",
        "run `luxe up` once with a network that reaches Maven Central, or copy that folder from a machine that has it",
    )


def _is_whole(path: Path, jar: Jar) -> bool:
    try:
        return path.stat().st_size == jar.size_bytes
    except FileNotFoundError:
        return False


class _Counter:
    """Adds up what all download threads have received."""

    def __init__(self, progress: Progress, here_bytes: int, total_bytes: int) -> None:
        self._progress, self._here_bytes, self._total_bytes = progress, here_bytes, total_bytes
        self._lock = threading.Lock()
        progress(here_bytes, total_bytes)

    @contextmanager
    def __call__(self, _file_name: str, _size_bytes: int) -> Iterator[Callable[[int], None]]:
        yield self.add

    def add(self, count_bytes: int) -> None:
        with self._lock:
            self._here_bytes += count_bytes
            self._progress(self._here_bytes, self._total_bytes)


def _fetch(jar: Jar, path: Path, partial: Path, counted: _Counter) -> None:
    context = MavenContext(
        PythonResolver(progress_callback=counted), repo_cache=partial, local_repos=[], timeout=TIMEOUT_SECONDS
    )
    try:
        fetched = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except RuntimeError as error:  # the resolver's word for "no repository has it"
        raise MissingDownload(
            f"Maven Central has no {jar.group}:{jar.artifact}:{jar.version}", "try again later, or report it"
        ) from error
    with fetched.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != jar.sha256:
        raise CorruptDownload(
            f"{jar.group}:{jar.artifact}:{jar.version} arrived with another SHA-256 than {LOCK_FILE.name} pins",
            "try again; if it stays so, something between here and Maven Central changes downloads: do not run it",
        )
    fetched.replace(path)


def resolve(version: str, folder: Path) -> list[Jar]:
    """Kafka ``version`` and all it needs at run time, resolved from its POMs and downloaded to be hashed."""
    context = MavenContext(PythonResolver(), repo_cache=folder, local_repos=[], timeout=TIMEOUT_SECONDS)
    kafka = context.create_dependency(":".join((*KAFKA_ARTIFACT, version)))
    direct, transitive = context.resolver.resolve([kafka])
    dependencies = [*direct, *transitive]
    log_version = next(d.version for d in dependencies if (d.groupId, d.artifactId) == LOG_CORE)
    dependencies.append(context.create_dependency(":".join((*LOG_BINDING, log_version))))
    jars = []
    for dependency in dependencies:
        content = dependency.artifact.resolve().read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        jars.append(Jar(dependency.groupId, dependency.artifactId, dependency.version, sha256, len(content)))
    return jars


def write_lock(version: str) -> None:
    """Pins Kafka ``version``: coordinates, SHA-256 and size, and no registry's address."""
    with tempfile.TemporaryDirectory() as folder:
        jars = resolve(version, Path(folder))
    header = (
        "# Written by `python -m connectors.stack.kafka_jars VERSION`. group:artifact:version sha256 size-in-bytes\n"
    )
    LOCK_FILE.write_text(header + "".join(jar.to_line() + "\n" for jar in jars))


if __name__ == "__main__":
    write_lock(sys.argv[1])
