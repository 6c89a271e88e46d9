"""Postgres refuses to run as root. Where we are root, it runs as an account of its own, and may pass through to its data.

Instead of opening every parent folder to everybody, only that account is let through, by an access control list.
"""

from __future__ import annotations

import os
import pwd
import stat
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from connectors.stack.errors import AccountUnusable

ACCOUNT = "luxe-postgres"

# The kernel's binary form of an access control list (linux/posix_acl_xattr.h): version, then (tag, permissions, id).
_ACL_ATTRIBUTE = "system.posix_acl_access"
_ACL_VERSION = 2
_ACL_ENTRY = struct.Struct("<HHI")
_USER_OBJECT, _USER, _GROUP_OBJECT, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_SEARCH = 1


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account of this machine."""

    name: str
    user_id: int
    group_id: int


def unprivileged_account() -> Account | None:
    """The account to run Postgres as: None (ourselves) unless we are root. Made on first use.

    Raises AccountUnusable when it is missing and cannot be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        _make_account()
        entry = pwd.getpwnam(ACCOUNT)
    return Account(ACCOUNT, entry.pw_uid, entry.pw_gid)


def _make_account() -> None:
    mend = "run luxe as an ordinary user: Postgres refuses to run as root"
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    try:
        finished = subprocess.run([*command, ACCOUNT], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise AccountUnusable(f"the account {ACCOUNT} cannot be made: this machine has no useradd", mend) from None
    already_exists = 9  # useradd(8): another command was faster
    if finished.returncode not in (0, already_exists):
        raise AccountUnusable(f"the account {ACCOUNT} cannot be made: {finished.stderr.strip()}", mend)


def may_pass(folder: Path, account: Account) -> bool:
    """Whether the account may search ``folder``, by its mode or by its access control list."""
    status = folder.stat()
    if status.st_uid == account.user_id:
        return bool(status.st_mode & stat.S_IXUSR)
    entries = _read_acl(folder)
    # A later chmod of the folder narrows the mask, and with it what every named account may do.
    mask = next((permissions for tag, permissions, _identity in entries if tag == _MASK), 7)
    for tag, permissions, identity in entries:
        if tag == _USER and identity == account.user_id:
            return bool(permissions & mask & _SEARCH)
    if status.st_gid == account.group_id:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def let_pass(path: Path, account: Account) -> None:
    """Lets the account, and nobody else, pass through every folder above ``path`` that would stop it.

    It may then search those folders, not list them. Raises AccountUnusable where the file system keeps no access
    control lists.
    """
    for folder in reversed(path.resolve().parents):
        if may_pass(folder, account):
            continue
        try:
            _grant_search(folder, account)
        except OSError as error:
            raise AccountUnusable(
                f"{folder}: Postgres, run as {account.name}, may not pass through it",
                f"choose a --state-dir outside of it (such as /srv/luxe), run as an ordinary user, or chmod o+x {folder}",
            ) from error


def can_read_tree(folder: Path, account: Account) -> bool:
    """Whether the account can reach ``folder`` and read every file in it."""
    if not all(may_pass(parent, account) for parent in (folder, *folder.resolve().parents)):
        return False
    return all(file.stat().st_mode & stat.S_IROTH for file in folder.rglob("*") if file.is_file())


def _read_acl(folder: Path) -> list[tuple[int, int, int]]:
    try:
        raw = os.getxattr(folder, _ACL_ATTRIBUTE)
    except OSError:  # none set, or a file system without them
        return []
    return [_ACL_ENTRY.unpack_from(raw, offset) for offset in range(4, len(raw), _ACL_ENTRY.size)]


def _grant_search(folder: Path, account: Account) -> None:
    mode = folder.stat().st_mode
    entries = [entry for entry in _read_acl(folder) if entry[0] != _MASK] or [
        (_USER_OBJECT, (mode >> 6) & 7, _NO_ID),
        (_GROUP_OBJECT, (mode >> 3) & 7, _NO_ID),
        (_OTHER, mode & 7, _NO_ID),
    ]
    entries = [entry for entry in entries if entry[::2] != (_USER, account.user_id)]
    entries.append((_USER, _SEARCH, account.user_id))
    mask = 0
    for tag, permissions, _identity in entries:
        if tag in (_USER, _GROUP_OBJECT, _GROUP):
            mask |= permissions
    entries.append((_MASK, mask, _NO_ID))
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    raw = struct.pack("<I", _ACL_VERSION) + b"".join(_ACL_ENTRY.pack(*entry) for entry in entries)
    os.setxattr(folder, _ACL_ATTRIBUTE, raw)
