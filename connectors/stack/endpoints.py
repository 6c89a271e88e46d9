"""``endpoints.json``: what the running stack says of itself, read by every process's Settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from connectors.loopback.signing import SENDGRID_PUBLIC_KEY_FILE, SERVICE_ACCOUNT_FILE
from connectors.settings import Settings
from connectors.stack.ports import LOOPBACK
from connectors.stack.postgres import postgres_dsn
from connectors.stack.state import StateDirectory, read_json, write_private

# Partitions of a new local stack. Each has transactions of its own, of some twenty requests inside the broker, 2 to 4 ms of a
# core each: on a machine's own two cores one partition is what gets an event to the provider in 50 ms (ADR 14).
NEW_STACK_PARTITIONS = 1
# What every stack had before its number was kept here.
_PARTITIONS_BEFORE_KEPT = 4


def read_endpoints(state: StateDirectory) -> dict[str, Any]:
    """What the last start wrote; empty before the first."""
    found = read_json(state.endpoints_file)
    return found if isinstance(found, dict) else {}


def previous_ports(state: StateDirectory) -> dict[str, int]:
    """The ports of the last start, by name."""
    ports = read_endpoints(state).get("ports", {})
    return {str(name): int(port) for name, port in ports.items()} if isinstance(ports, dict) else {}


def partitions_for(state: StateDirectory, asked: int | None = None) -> int:
    """Partitions of every keyed topic: what the stack was made with; of a new one ``asked``, or as its settings say."""
    earlier = read_endpoints(state)
    if earlier:
        return int(earlier.get("kafka_partitions", _PARTITIONS_BEFORE_KEPT))
    if asked is not None:
        return asked
    told = Settings(state_dir=state.root)
    return told.kafka_partitions if "kafka_partitions" in told.model_fields_set else NEW_STACK_PARTITIONS


def write_endpoints(state: StateDirectory, ports: Mapping[str, int], partitions: int) -> dict[str, Any]:
    """Writes and returns the endpoints for these ports. 0600: the DSN holds a password."""
    loopback_url = f"http://{LOOPBACK}:{ports['loopback']}"
    endpoints: dict[str, Any] = {
        "ports": dict(ports),
        "kafka_bootstrap": f"{LOOPBACK}:{ports['kafka']}",
        "kafka_partitions": partitions,
        "postgres_dsn": postgres_dsn(state, ports["postgres"]),
        "loopback_url": loopback_url,
        "twilio_base_url": loopback_url,
        "sendgrid_base_url": loopback_url,
        "fcm_base_url": loopback_url,
        "clickhouse_http_host": LOOPBACK,
        "clickhouse_http_port": ports["clickhouse"],
        "webhook_host": LOOPBACK,
        "webhook_port": ports["webhooks"],
        "api_host": LOOPBACK,
        "api_port": ports["api"],
        "public_base_url": f"http://{LOOPBACK}:{ports['webhooks']}",
        "pages_base_url": f"http://{LOOPBACK}:{ports['api']}",
    }
    key_file = state.root / "loopback" / SENDGRID_PUBLIC_KEY_FILE
    if key_file.exists():  # the provider makes it at its first start
        endpoints["sendgrid_webhook_public_key"] = key_file.read_text().strip()
    service_account = state.root / "loopback" / SERVICE_ACCOUNT_FILE
    if service_account.exists():
        endpoints["fcm_service_account_file"] = str(service_account)
    write_private(state.endpoints_file, json.dumps(endpoints, indent=2) + "\n")
    return endpoints
