"""The local stack as one object: up, down, status, wipe. The commands and the tests both drive this."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from connectors.settings import Settings
from connectors.stack.control import (
    ServiceStatus,
    ensure_supervisor,
    planned,
    stale_records,
    statuses,
    stop_everything,
    wait_until_ready,
    write_plan,
)
from connectors.stack.endpoints import partitions_for, previous_ports, write_endpoints
from connectors.stack.errors import StackError
from connectors.stack.kafka import prepare_kafka
from connectors.stack.kafka_jars import cache_directory, fetch_jars, kafka_version, locked_jars
from connectors.stack.pipeline import (
    INFRASTRUCTURE,
    KAFKA,
    LOOPBACK_PROVIDER,
    PIPELINE_NAMES,
    POSTGRES,
    SERVICE_NAMES,
    loopback_spec,
    needed_by,
    pipeline_specs,
)
from connectors.stack.port_claims import PortClaims, claiming
from connectors.stack.ports import choose_ports
from connectors.stack.postgres import prepare_postgres
from connectors.stack.process import living_record
from connectors.stack.service import ServiceSpec, in_start_order
from connectors.stack.setup import set_up
from connectors.stack.state import StateDirectory, find_state, open_state, wipe_state

# Which ports a service listens on.
_PORTS_OF = {
    KAFKA: ("kafka", "kafka-controller"),
    POSTGRES: ("postgres",),
    LOOPBACK_PROVIDER: ("loopback",),
    "clickhouse": ("clickhouse",),
    "webhooks": ("webhooks",),
    "api": ("api",),
}


class Watcher(Protocol):
    """Who is told how it goes. Every method may be called often and must return at once."""

    def downloading(self, here_bytes: int, total_bytes: int) -> None: ...
    def step(self, label: str) -> None: ...
    def services(self, seen: list[ServiceStatus]) -> None: ...


class Silent:
    """Nobody watches."""

    def downloading(self, here_bytes: int, total_bytes: int) -> None:
        """Nothing to tell."""

    def step(self, label: str) -> None:
        """Nothing to tell."""

    def services(self, seen: list[ServiceStatus]) -> None:
        """Nothing to tell."""


@dataclass(frozen=True, slots=True)
class LocalStack:
    """The stack of one state directory."""

    state_dir: Path
    explicit_ports: Mapping[str, int] = field(default_factory=dict)
    # False: Postgres without fsync, for data that may be thrown away.
    durable: bool = True
    # False: any free port instead of the defaults.
    default_ports: bool = True
    # Of a new stack's topics; None: as LUXE_KAFKA_PARTITIONS says, or the local default. A stack keeps what it was made with.
    partitions: int | None = None
    # Everything stops when this process ends.
    owner_pid: int | None = None
    watcher: Watcher = field(default_factory=Silent)

    def up(self, only: Collection[str] | None = None) -> list[ServiceStatus]:
        """Starts ``only`` these services and what they need (None: all of them), and waits until each is ready.

        What runs already goes on, what died is started again. Raises a StackError that names what went wrong.
        """
        names = frozenset(SERVICE_NAMES if only is None else only)
        if unknown := names - frozenset(SERVICE_NAMES):
            raise StackError(
                f"no service is called {', '.join(sorted(unknown))}", f"choose from: {', '.join(SERVICE_NAMES)}"
            )
        state = open_state(self.state_dir)
        with state.exclusively(), claiming(cache_directory() / "ports") as claims:
            for name in stale_records(state):
                self.watcher.step(f"{name} died without its pid file being removed: it is started again")
            wanted = needed_by(names | {spec.name for spec in planned(state)})
            ports = self._choose_ports(state, claims)
            partitions = partitions_for(state, self.partitions)
            specs = self._prepare(state, wanted, ports)
            write_endpoints(state, ports, partitions)
            self._check_security()
            infrastructure = [spec for spec in specs if spec.name in INFRASTRUCTURE]
            kept = {spec.name for spec in planned(state)}
            # What already runs stays in the plan while its stores come up: it waits for them by itself.
            first = [spec for spec in specs if spec.name in INFRASTRUCTURE or spec.name in kept]
            write_plan(state, first, self.owner_pid)
            ensure_supervisor(state)
            wait_until_ready(state, infrastructure, self.watcher.services)
            write_endpoints(state, ports, partitions)  # again: the provider's first start made its signing key
            if wanted & frozenset(PIPELINE_NAMES):
                set_up(self.settings(), self.watcher.step)
                if (moved := self._choose_ports(state, claims)) != ports:
                    # Somebody took one since it was chosen; what we hold ourselves stays as it is.
                    specs = self._prepare(state, wanted, moved)
                    write_endpoints(state, moved, partitions)
                write_plan(state, specs, self.owner_pid)
                wait_until_ready(state, specs, self.watcher.services)
            return statuses(state)

    def down(self) -> list[str]:
        """Stops everything that was started here, last first; returns the names of what was running."""
        state = find_state(self.state_dir)
        if state is None:
            return []
        with state.exclusively():
            return stop_everything(state, self.watcher.services)

    def wipe(self) -> list[str]:
        """Stops everything, then removes the state directory; only ever one that carries our marker."""
        state = find_state(self.state_dir)
        if state is None:
            return []
        with state.exclusively():
            stopped = stop_everything(state, self.watcher.services)
            wipe_state(state)
            return stopped

    def status(self) -> list[ServiceStatus]:
        """What should run, and how it is."""
        state = find_state(self.state_dir)
        return statuses(state) if state is not None else []

    def settings(self) -> Settings:
        """The settings of a process that works with this stack."""
        return Settings(state_dir=self.state_dir.absolute())

    def _check_security(self) -> None:
        """Raises StackError where this shell is set up for another Kafka: ours is spoken to in the clear, on loopback."""
        security = self.settings().kafka_security
        if security != "PLAINTEXT":
            raise StackError(
                f"LUXE_KAFKA_SECURITY is {security}, and the local stack's Kafka speaks in the clear",
                "unset LUXE_KAFKA_… in this shell for the local stack; another Kafka is used without it (docs/runbooks/kafka.md)",
            )

    def _choose_ports(self, state: StateDirectory, claims: PortClaims) -> dict[str, int]:
        ours = {port for name, ports in _PORTS_OF.items() if living_record(state.run / f"{name}.pid") for port in ports}
        return choose_ports(
            previous_ports(state), self.explicit_ports, ours, anywhere=not self.default_ports, claim=claims.take
        )

    def _prepare(self, state: StateDirectory, wanted: Collection[str], ports: Mapping[str, int]) -> list[ServiceSpec]:
        specs: list[ServiceSpec] = []
        if KAFKA in wanted:
            jars = locked_jars()
            class_path = fetch_jars(jars, cache_directory(), self.watcher.downloading)
            if not (state.kafka / "data").exists():
                self.watcher.step("making Kafka's storage")
            version = kafka_version(jars)
            specs.append(prepare_kafka(state, class_path, version, ports["kafka"], ports["kafka-controller"]))
        if POSTGRES in wanted:
            if not (state.postgres / "data").exists():
                self.watcher.step("making Postgres' cluster")
            specs.append(prepare_postgres(state, ports["postgres"], durable=self.durable))
        if LOOPBACK_PROVIDER in wanted:
            specs.append(loopback_spec(state, ports))
        specs.extend(spec for spec in pipeline_specs(state, ports) if spec.name in wanted)
        return in_start_order(specs)


def service_names(given: Sequence[str]) -> list[str]:
    """The names in options like ``--only kafka,postgres --only sms``."""
    return [name.strip() for value in given for name in value.split(",") if name.strip()]
