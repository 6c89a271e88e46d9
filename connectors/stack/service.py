"""A service as data: what to run, when it is ready, how it stops. The supervisor knows nothing else."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

ProbeKind = Literal["kafka", "postgres", "http", "file"]


@dataclass(frozen=True, slots=True)
class Probe:
    """How to see that a service is ready.

    ``kafka`` asks a broker for its metadata, ``postgres`` offers to log in, ``http`` wants status 200 of ``target``
    (a URL), ``file`` wants the file ``target``. For the first two, ``target`` is host:port.
    """

    kind: ProbeKind
    target: str


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One supervised process. Times in seconds."""

    name: str
    argv: tuple[str, ...]
    ready: Probe
    log_file: str
    env: Mapping[str, str] = field(default_factory=dict)
    working_directory: str | None = None
    stop_signal: int = signal.SIGTERM
    # After this a service is killed. Long enough for Kafka's controlled shutdown and a sink's drain.
    grace_seconds: float = 20.0
    # A first start may replay logs after a crash.
    ready_seconds: float = 90.0
    depends_on: tuple[str, ...] = ()
    restart: Literal["always", "never"] = "always"
    # The unprivileged account to run as, where we are root and the program refuses to be.
    user_id: int | None = None
    group_id: int | None = None
    # What `luxe status` prints as its address, if it listens.
    address: str | None = None

    def digest(self) -> str:
        """Changes whenever a running process would have to be started anew to match this specification."""
        what_runs = (self.argv, sorted(self.env.items()), self.working_directory, self.user_id, self.group_id)
        return hashlib.sha256(json.dumps(what_runs).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> ServiceSpec:
        return cls(
            **{
                **found,
                "argv": tuple(found["argv"]),
                "depends_on": tuple(found["depends_on"]),
                "ready": Probe(**found["ready"]),
            }
        )


def in_start_order(specs: Iterable[ServiceSpec]) -> list[ServiceSpec]:
    """The specifications, each after all it depends on; otherwise in the order given. A cycle raises ValueError."""
    by_name = {spec.name: spec for spec in specs}
    ordered: dict[str, ServiceSpec] = {}

    def visit(spec: ServiceSpec, path: tuple[str, ...]) -> None:
        if spec.name in path:
            raise ValueError(f"services depend on each other in a circle: {' > '.join((*path, spec.name))}")
        if spec.name in ordered:
            return
        for name in spec.depends_on:
            if name in by_name:
                visit(by_name[name], (*path, spec.name))
        ordered[spec.name] = spec

    for spec in by_name.values():
        visit(spec, ())
    return list(ordered.values())
