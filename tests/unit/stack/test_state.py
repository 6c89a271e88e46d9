"""The state directory: ours by its marker, private, and clear about what is wrong with a disk."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest

from connectors.stack.errors import AlreadySupervised, DiskUnusable, ForeignDirectory, naming_disk_errors
from connectors.stack.state import MARKER_FILE, find_state, new_kafka_cluster_id, open_state, wipe_state, write_private


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_private_and_found_again(tmp_path: Path) -> None:
    made = open_state(tmp_path / "deep" / "state")
    assert mode_of(made.root) == 0o700
    assert {mode_of(entry) for entry in made.root.iterdir() if entry.is_dir()} == {0o700}
    assert {mode_of(entry) for entry in made.root.rglob("*") if entry.is_file()} == {0o600}
    assert open_state(made.root) == made == find_state(made.root)


def test_two_directories_are_two_clusters(tmp_path: Path) -> None:
    first, second = open_state(tmp_path / "a"), open_state(tmp_path / "b")
    assert first.identity != second.identity
    assert first.kafka_cluster_id != second.kafka_cluster_id


def test_a_cluster_id_never_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([uuid.UUID(bytes=b"\xf8" * 16), uuid.UUID(bytes=b"\x00" * 16)])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))
    assert new_kafka_cluster_id() == "A" * 22


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert find_state(tmp_path / "none") is None
    assert find_state(tmp_path) is None


def test_a_directory_of_others_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ForeignDirectory, match="not made by luxe"):
        open_state(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(ForeignDirectory, match="is a file"):
        open_state(tmp_path / "state")


def test_another_version_of_luxe_is_refused(tmp_path: Path) -> None:
    (tmp_path / MARKER_FILE).write_text('{"format": 99, "identity": "x", "kafka_cluster_id": "y"}')
    with pytest.raises(ForeignDirectory, match="another version"):
        open_state(tmp_path)


def test_a_secret_stays_what_it_was_first(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    assert state.secret("password", "first") == "first"
    assert state.secret("password", "second") == "first"
    assert mode_of(state.secrets / "password") == 0o600


def test_one_command_at_a_time(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    with state.exclusively(), pytest.raises(AlreadySupervised, match="another luxe command"), state.exclusively():
        pass
    with state.exclusively():
        pass


def test_an_almost_full_disk_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**9, 10**9 - 2**20, 2**20))
    with pytest.raises(DiskUnusable, match="only 1 MiB free") as refused:
        open_state(tmp_path / "state")
    assert "--state-dir" in refused.value.mend


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "not permitted"),
    ],
)
def test_a_disk_that_refuses_is_named(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(DiskUnusable, match=words) as refused, naming_disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in refused.value.message
    assert "--state-dir" in refused.value.mend


def test_other_errors_keep_their_name(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), naming_disk_errors(tmp_path):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "endpoints.json"
    write_private(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskUnusable, match="the disk is full"):
        write_private(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["endpoints.json"]


def test_wiping_removes_it_whole_but_follows_no_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    state = open_state(tmp_path / "state")
    (state.root / "link").symlink_to(outside)
    wipe_state(state)
    assert not state.root.exists()
    assert (outside / "kept").exists()


def test_an_interrupted_wipe_can_be_ended_by_another(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    shutil.rmtree(state.run)
    found = find_state(state.root)
    assert found is not None
    with found.exclusively():
        wipe_state(found)
    assert not state.root.exists()
