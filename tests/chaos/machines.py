"""A Kafka, a Redis and workers of the tests' own, each a process that can be killed, paused and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import redis
from kafka import KafkaConsumer
from kafka.errors import KafkaError

from driftline.platform.local import servers
from driftline.platform.settings import LocalServers

ROOT = Path(__file__).parents[2]
START_S = 120.0
PAUSE_S = 0.01


def wait_for(what: str, condition: Callable[[], object], limit_s: float = START_S, pause_s: float = PAUSE_S) -> float:
    """Wait until `condition` holds; returns the seconds that it took. Fails with `what` after `limit_s`."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() < begin + limit_s, f"not within {limit_s:g} s: {what}"
        time.sleep(pause_s)
    return time.monotonic() - begin


class Machine:
    """One process; its output goes to `log`."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None):
        self.name = name
        self.log = log
        self.lives = 0
        self._command = list(command)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.alive():
            return
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                start_new_session=True,
            )
        self.lives += 1

    @property
    def pid(self) -> int:
        """The process id of its present or last life."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    def alive(self) -> bool:
        """Whether it has not ended, paused or not."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to a process that was alive until now."""
        assert self.alive(), f"{self.name} ended by itself: {self.tail()}"
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and proof: it lived before, and it died of it."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        assert self._process.wait(30) == -signal.SIGKILL
        assert not Path(f"/proc/{self.pid}").exists()

    def wait_killed(self, limit_s: float = START_S) -> None:
        """Wait for a death by SIGKILL that it gives itself."""
        assert self._process is not None
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{self.name} lives on, so its fault never came: {self.tail()}") from error
        assert code == -signal.SIGKILL, f"{self.name} ended with {code}: {self.tail()}"

    def paused(self) -> bool:
        """Whether it has been stopped by SIGSTOP."""
        return self.alive() and ") T " in Path(f"/proc/{self.pid}/stat").read_text()

    def stop(self) -> None:
        """SIGTERM, as a supervisor ends it; returns when it has ended."""
        if self._process is None or not self.alive():
            return
        os.kill(self.pid, signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)
            raise AssertionError(f"{self.name} did not end within a minute: {self.tail()}") from None

    def end(self) -> None:
        """End it at any price."""
        if self._process is not None and self.alive():
            self._process.kill()
            self._process.wait(30)

    def tail(self) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def said(self, words: str) -> int:
        """How often its output has these words."""
        return self.log.read_text(errors="replace").count(words)


class Arena:
    """A broker and a Redis on free ports of loopback, which the tests may treat as they like."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        port, controller, redis_port = (servers.free_port() for _ in range(3))
        kafka = servers.kafka(directory, port, controller, lambda _: None)
        store = servers.redis(directory, redis_port)
        self.addresses = LocalServers(bootstrap=f"127.0.0.1:{port}", redis_url=f"redis://127.0.0.1:{redis_port}/0")
        self.kafka = Machine("kafka", kafka.command, directory / "kafka.log")
        self.redis = Machine("redis", store.command, directory / "redis.log")
        self.redis_files = directory / "redis"

    def open(self) -> None:
        """Start both and wait until they answer."""
        self.kafka.start()
        self.redis.start()
        self.wait_redis()
        self.wait_kafka()

    def mend(self) -> None:
        """Whatever a fault has left: let both run and answer."""
        for machine in (self.kafka, self.redis):
            if machine.paused():
                machine.signal(signal.SIGCONT)
        self.open()

    def close(self) -> None:
        """End both."""
        self.kafka.end()
        self.redis.end()

    def wait_kafka(self) -> float:
        """Wait until the broker answers; returns the seconds."""
        return wait_for("Kafka answers", self._kafka_answers)

    def wait_redis(self) -> float:
        """Wait until Redis answers; returns the seconds."""
        client = redis.Redis.from_url(self.addresses.redis_url)
        try:
            return wait_for("Redis answers", lambda: _answers(client))
        finally:
            client.close()

    def _kafka_answers(self) -> bool:
        assert self.kafka.alive(), self.kafka.tail()
        try:
            consumer = KafkaConsumer(bootstrap_servers=self.addresses.bootstrap, bootstrap_timeout_ms=1000)
        except KafkaError:
            return False
        try:
            consumer.topics()
        except KafkaError:
            return False
        finally:
            consumer.close()
        return True


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:  # away, or still reading its files
        return False


def worker(name: str, module: Sequence[str], environment: Mapping[str, str], log: Path, slot: int = 0) -> Machine:
    """A worker of a deployment: `python -m ...`."""
    own = {**environment, "DRIFTLINE_SLOT": str(slot), "PYTHONUNBUFFERED": "1"}
    return Machine(name, [sys.executable, *module], log, own)
