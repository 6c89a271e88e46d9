"""One account is let through to its data, and nobody else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from connectors.stack.account import Account, can_read_tree, let_pass, may_pass
from connectors.stack.errors import AccountUnusable

POSTGRES = Account("luxe-postgres", 54_321, 54_321)
STRANGER = Account("stranger", 54_322, 54_322)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder that only its owner may enter."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    (folder / "state").mkdir()
    return folder


def test_a_private_folder_is_opened_to_the_account_alone(private: Path) -> None:
    assert not may_pass(private, POSTGRES)
    let_pass(private / "state", POSTGRES)
    assert may_pass(private, POSTGRES)
    assert not may_pass(private, STRANGER)
    assert stat.S_IMODE(private.stat().st_mode) & stat.S_IRWXO == 0


def test_both_of_two_accounts_may_pass_after_one_another(private: Path) -> None:
    let_pass(private / "state", POSTGRES)
    let_pass(private / "state", STRANGER)
    assert may_pass(private, POSTGRES)
    assert may_pass(private, STRANGER)


def test_a_later_chmod_shuts_the_account_out_until_it_is_let_through_again(private: Path) -> None:
    let_pass(private / "state", POSTGRES)
    private.chmod(0o700)
    assert not may_pass(private, POSTGRES)
    let_pass(private / "state", POSTGRES)
    assert may_pass(private, POSTGRES)


def test_letting_pass_twice_changes_nothing(private: Path) -> None:
    let_pass(private / "state", POSTGRES)
    before = private.stat().st_mode
    let_pass(private / "state", POSTGRES)
    assert private.stat().st_mode == before


def test_a_file_system_without_access_lists_is_named(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(AccountUnusable, match="may not pass") as unusable:
        let_pass(private / "state", POSTGRES)
    assert "--state-dir" in unusable.value.mend


def test_a_tree_is_readable_only_if_every_file_is(tmp_path: Path) -> None:
    (tmp_path / "engine" / "bin").mkdir(parents=True)
    program = tmp_path / "engine" / "bin" / "postgres"
    program.write_text("")
    program.chmod(0o755)
    for folder in (tmp_path / "engine", tmp_path / "engine" / "bin"):
        folder.chmod(0o755)
    let_pass(program, POSTGRES)
    assert can_read_tree(tmp_path / "engine", POSTGRES)
    program.chmod(0o700)
    assert not can_read_tree(tmp_path / "engine", POSTGRES)
