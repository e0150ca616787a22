"""The local stack: servers and workers under one supervisor, all of it within one state directory."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import redis as redis_client
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from driftline.errors import DeploymentError, Unreachable
from driftline.platform.local import servers
from driftline.platform.local.control import Supervisor
from driftline.platform.local.java import Say
from driftline.platform.local.servers import Program, free_port
from driftline.platform.settings import LocalServers
from driftline.platform.writing import write

WORKERS = ("monitor", "control", "archiver", "trainer", "gate")
STARTUP_S = 90.0
TAG = "DRIFTLINE_STACK"
"""Environment variable of everything that a stack starts: by it what was left behind is found."""
SHARING = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // 2))}
"""Half of the cores for a training: its threads wait for one another, so one that has to share its core with Kafka or a
worker holds up all of them. On two cores two threads were seen to take four times as long as one, however they wait.
What the user has set stays."""
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 18), "MALLOC_TRIM_THRESHOLD_": str(1 << 18)}
"""Arrays that grow are given back to the system when larger ones have taken their place. Left to itself glibc keeps
what they leave behind: a million kept predictions took 115 MB instead of 75. What the user has set stays."""


class LocalStack:
    """Servers and workers of one state directory.

    `start` brings up the servers that are not configured elsewhere (`DRIFTLINE_BOOTSTRAP`, `DRIFTLINE_REDIS_URL`) and
    waits until they answer; `start_workers` the workers, once topics exist. `stop` leaves no process and no port.
    `brief`: for minutes only, as demos and tests are.
    """

    def __init__(
        self,
        state: Path,
        environment: Mapping[str, str] | None = None,
        say: Say = lambda _: None,
        *,
        brief: bool = False,
    ) -> None:
        self.state = state.absolute()
        self._environment = dict(environment or {})
        self._say = say
        self._brief = brief
        self._supervisor = Supervisor(self.state)

    def running(self) -> bool:
        """Whether this stack's supervisor answers."""
        return self._supervisor.answers()

    def start(self) -> LocalServers:
        """Start the servers and wait until they answer. Raises `DeploymentError` with the tail of a log if one dies."""
        if self.running():
            return self.addresses()
        self._end_leftovers()
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "logs").mkdir(exist_ok=True)
        bootstrap = os.environ.get("DRIFTLINE_BOOTSTRAP")
        redis_url = os.environ.get("DRIFTLINE_REDIS_URL")
        programs: list[Program] = []
        if not bootstrap:
            port, controller = self._ports("kafka", 2)
            programs.append(servers.kafka(self.state, port, controller, self._say, brief=self._brief))
            bootstrap = f"127.0.0.1:{port}"
        if not redis_url:
            (port,) = self._ports("redis", 1)
            programs.append(servers.redis(self.state, port))
            redis_url = f"redis://127.0.0.1:{port}/0"
        addresses = LocalServers(bootstrap=bootstrap, redis_url=redis_url)
        write(self.state / "servers.json", msgspec.json.encode(addresses), 0o600)  # an address may hold a password
        programs += [
            Program(name, (sys.executable, "-m", f"driftline.{name}.main"), priority=30, autostart=False)
            for name in WORKERS
        ]
        try:
            self._supervisor.launch(programs, self._worker_environment())
            self._say("starting the servers")
            self._wait_for(lambda: _kafka_answers(bootstrap), "kafka")
            self._wait_for(lambda: redis_answers(redis_url), "redis")
        except BaseException:
            self.stop()
            raise
        return addresses

    def start_workers(self, names: Sequence[str] = WORKERS) -> None:
        """Start the named workers; the supervisor starts them again whenever they die."""
        for name in names:
            self._supervisor.start(name)

    def stop(self) -> None:
        """Stop workers, then Redis, then Kafka, then the supervisor; nothing is left behind."""
        if self.running():
            self._supervisor.shut_down()
        self._end_leftovers()
        (self.state / "servers.json").unlink(missing_ok=True)

    def addresses(self) -> LocalServers:
        """Where the servers are. Raises `DeploymentError` where none have been started."""
        path = self.state / "servers.json"
        if not path.exists():
            raise DeploymentError(f"nothing has been started under {self.state}; run `driftline up`")
        return msgspec.json.decode(path.read_bytes(), type=LocalServers)

    def processes(self) -> list[dict[str, Any]]:
        """What the supervisor says of each process: name, statename, pid, start, spawnerr."""
        return self._supervisor.processes() if self.running() else []

    def pid(self, name: str) -> int:
        """The process id of a running program."""
        for process in self.processes():
            if process["name"] == name and process["pid"]:
                return int(process["pid"])
        raise DeploymentError(f"{name} is not running under {self.state}")

    def restart(self, name: str) -> None:
        """Stop a program and start it again."""
        self._supervisor.stop(name)
        self._supervisor.start(name)

    def log_file(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.state / "logs" / f"{name}.log"

    def _worker_environment(self) -> dict[str, str]:
        sharing = {name: os.environ.get(name, value) for name, value in (SHARING | MEMORY).items()}
        return {TAG: str(self.state), "DRIFTLINE_STATE_DIR": str(self.state), **sharing, **self._environment}

    def _ports(self, name: str, count: int) -> list[int]:
        """The ports of last time, so that clients find a server again, if they are still free; else new ones."""
        path = self.state / f"{name}.ports"
        if path.exists():
            ports = [int(port) for port in path.read_text().split() if port.isdecimal()]
            if len(ports) == count and all(_is_free(port) for port in ports):
                return ports
        ports = [free_port() for _ in range(count)]
        path.write_text(" ".join(map(str, ports)))
        return ports

    def _wait_for(self, answers: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + STARTUP_S
        lives = set()  # the supervisor starts again what dies, and EXITED is soon over: a second life tells of a death
        while not answers():
            states = {p["name"]: p["statename"] for p in self._supervisor.processes()}
            lives |= {p["pid"] for p in self._supervisor.processes() if p["name"] == name and p["pid"]}
            died = states.get(name) in ("FATAL", "EXITED", "BACKOFF") or len(lives) > 1
            if died or time.monotonic() > deadline:
                raise DeploymentError(f"{name} did not start; the end of {self.log_file(name)}:\n{self._tail(name)}")
            if name not in states and time.monotonic() > deadline - STARTUP_S + 10:
                raise Unreachable(f"{name} does not answer where DRIFTLINE_BOOTSTRAP or DRIFTLINE_REDIS_URL says it is")
            time.sleep(0.1)

    def _tail(self, name: str) -> str:
        path = self.log_file(name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-8:]) if path.exists() else "(no log)"

    def _end_leftovers(self) -> None:
        """End what a killed supervisor left running: processes that carry this state directory in their environment."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 10
            for pid in leftovers(self.state):
                _signal(pid, how)
            while leftovers(self.state) and time.monotonic() < deadline:
                time.sleep(0.1)


def interrupt_on_signals() -> None:
    """Let SIGTERM and a closed terminal end this process as Ctrl-C does, so that it still stops what it started."""
    for polite in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(polite, signal.default_int_handler)


def leftovers(state: Path) -> list[int]:
    """Processes that belong to the stack of `state` (all but the caller)."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            alive = ") Z" not in (directory / "stat").read_text()
            belongs = alive and _belongs(directory, state.absolute())
        except OSError:
            continue  # it has ended, or is another user's
        if belongs and int(directory.name) != os.getpid():
            found.append(int(directory.name))
    return found


def _belongs(process: Path, state: Path) -> bool:
    if f"{TAG}={state}".encode() in (process / "environ").read_bytes().split(b"\0"):
        return True
    # Redis writes its title over its environment; it is known by its name, and by working where its data are
    name = (process / "comm").read_text().strip()
    return name in servers.REDIS_NAMES and (process / "cwd").readlink() == (state / "redis").resolve()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended meanwhile


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):  # taken, or no port at all
            return False
    return True


def _kafka_answers(bootstrap: str) -> bool:
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=1000)
    except KafkaError:
        return False
    try:
        admin.list_topics()
    except KafkaError:
        return False
    finally:
        admin.close()
    return True


def redis_answers(url: str) -> bool:
    """Whether a Redis answers there."""
    client = redis_client.Redis.from_url(url)
    try:
        return bool(client.ping())
    except redis_client.RedisError:
        return False
    finally:
        client.close()
