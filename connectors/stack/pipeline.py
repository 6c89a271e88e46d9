"""Our own processes as services, and what must be done once between the stores' start and theirs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from connectors.stack.ports import LOOPBACK
from connectors.stack.service import Probe, ServiceSpec
from connectors.stack.state import StateDirectory

KAFKA, POSTGRES, LOOPBACK_PROVIDER = "kafka", "postgres", "loopback"
# Publishes the outbox: whoever answers only when Kafka has a change answers 503 without it.
RELAY = "relay"
INFRASTRUCTURE = (KAFKA, POSTGRES, LOOPBACK_PROVIDER)

# (name, arguments after `python -m`, what it needs)
PIPELINE: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (RELAY, ("connectors.postgres", "relay"), (KAFKA, POSTGRES)),
    ("intake", ("streams", "intake"), (KAFKA,)),
    ("notify", ("streams", "notify"), (KAFKA,)),
    ("coordinator", ("streams", "coordinator"), (KAFKA, POSTGRES, RELAY)),
    ("webhooks", ("connectors.webhooks",), (KAFKA, POSTGRES, RELAY)),
    ("api", ("api",), (KAFKA, POSTGRES, RELAY)),
    ("sms", ("sinks", "sms"), (KAFKA, POSTGRES, LOOPBACK_PROVIDER)),
    ("email", ("sinks", "email"), (KAFKA, POSTGRES, LOOPBACK_PROVIDER)),
    ("push", ("sinks", "push"), (KAFKA, POSTGRES, LOOPBACK_PROVIDER)),
    ("in_app", ("sinks", "in_app"), (KAFKA, POSTGRES)),
    ("segments", ("connectors.segments",), (KAFKA, POSTGRES)),
    ("clickhouse", ("sinks", "clickhouse"), (KAFKA,)),
)
PIPELINE_NAMES = tuple(name for name, _arguments, _needs in PIPELINE)
SERVICE_NAMES = (*INFRASTRUCTURE, *PIPELINE_NAMES)

# A stream's first start restores its state from its change log; a sink's last finishes what is in flight.
PIPELINE_READY_SECONDS = 120.0
PIPELINE_GRACE_SECONDS = 20.0


def needed_by(names: frozenset[str]) -> frozenset[str]:
    """The names and all that they depend on."""
    needs = {name: wanted for name, _arguments, wanted in PIPELINE}
    found = names | {wanted for name in names for wanted in needs.get(name, ())}
    return found if found == names else needed_by(found)


def loopback_spec(state: StateDirectory, ports: Mapping[str, int]) -> ServiceSpec:
    """The provider that stands in for Twilio, SendGrid and FCM, and posts its receipts to our webhooks."""
    port = ports["loopback"]
    where = ("--host", LOOPBACK, "--port", str(port), "--state-dir", str(state.root / "loopback"))
    receipts = ("--webhook-url", f"http://{LOOPBACK}:{ports['webhooks']}")
    return ServiceSpec(
        name=LOOPBACK_PROVIDER,
        argv=(sys.executable, "-P", "-m", "connectors.loopback", *where, *receipts),
        env=_environment(state, LOOPBACK_PROVIDER),
        ready=Probe("http", f"http://{LOOPBACK}:{port}/healthz"),
        log_file=str(state.logs / "loopback.log"),
        working_directory=str(state.root),
        address=f"http://{LOOPBACK}:{port}",
    )


def pipeline_specs(state: StateDirectory, ports: Mapping[str, int]) -> list[ServiceSpec]:
    """Our own processes. Each touches ``ready/<name>`` when it works."""
    return [
        ServiceSpec(
            name=name,
            # -P: the working directory is the state's, whose folder `streams` must not pass for our package.
            argv=(sys.executable, "-P", "-m", *arguments),
            env=_environment(state, name),
            ready=Probe("file", str(state.ready / name)),
            ready_seconds=PIPELINE_READY_SECONDS,
            grace_seconds=PIPELINE_GRACE_SECONDS,
            log_file=str(state.logs / f"{name}.log"),
            working_directory=str(state.root),
            depends_on=needs,
            address=f"http://{LOOPBACK}:{ports[name]}" if name in ports else None,
        )
        for name, arguments, needs in PIPELINE
    ]


def _environment(state: StateDirectory, name: str) -> dict[str, str]:
    """What a process of ours is told. A setting changed since the last `luxe up` restarts it: it is part of its digest."""
    settings = {key: value for key, value in os.environ.items() if key.startswith("LUXE_")}
    return {**settings, "LUXE_STATE_DIR": str(state.root), "LUXE_SERVICE_NAME": name, "PYTHONUNBUFFERED": "1"}
