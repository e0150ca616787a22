"""supervisord: its configuration, its start, and talking to it over its socket."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from driftline.errors import DeploymentError
from driftline.platform.local.servers import Program


class Supervisor:
    """The supervisord of one state directory, reached over a unix socket that only its user may open."""

    def __init__(self, state: Path) -> None:
        self._state = state
        # a socket's path may be 107 bytes long, which a state directory can exceed
        name = hashlib.sha256(str(state).encode()).hexdigest()[:12]
        self._socket = Path(tempfile.gettempdir()) / f"driftline-{os.getuid()}-{name}.sock"

    def launch(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        """Write the configuration and start supervisord in a session of its own, so that Ctrl-C reaches only us."""
        configuration = self._state / "supervisord.conf"
        configuration.write_text(self._configuration(programs))
        with (self._state / "logs" / "supervisord.out").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + 20
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DeploymentError(f"the supervisor did not start; see {self._state / 'logs' / 'supervisord.out'}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether supervisord is there."""
        try:
            self._call("getState")
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def processes(self) -> list[dict[str, Any]]:
        """Every program with its state."""
        found: list[dict[str, Any]] = self._call("getAllProcessInfo")
        return found

    def start(self, name: str) -> None:
        """Start a program unless it runs."""
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise DeploymentError(f"{name} could not be started: {fault.faultString}") from fault

    def stop(self, name: str) -> None:
        """Stop a program and wait for its end."""
        try:
            self._call("stopProcess", name, True)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise DeploymentError(f"{name} could not be stopped: {fault.faultString}") from fault

    def shut_down(self) -> None:
        """Stop workers, then Redis, then Kafka, one group after the other, then supervisord itself."""
        servers = ("redis", "kafka")
        workers = [p["name"] for p in self.processes() if p["name"] not in servers]
        for name in workers:
            if self._runs(name):
                self._call("stopProcess", name, False)
        self._wait_stopped(workers)
        for name in servers:
            if self._runs(name):
                self.stop(name)
        self._call("shutdown")
        deadline = time.monotonic() + 20
        while self.answers() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._socket.unlink(missing_ok=True)

    def _runs(self, name: str) -> bool:
        return any(p["name"] == name and p["pid"] for p in self.processes())

    def _wait_stopped(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + 30
        while any(p["pid"] for p in self.processes() if p["name"] in names) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()

    def _configuration(self, programs: Sequence[Program]) -> str:
        logs = self._state / "logs"
        parts = [
            "[unix_http_server]",
            f"file={_escaped(self._socket)}",
            "chmod=0700",
            "[supervisord]",
            f"logfile={_escaped(logs / 'supervisord.log')}",
            f"pidfile={_escaped(self._state / 'supervisord.pid')}",
            f"childlogdir={_escaped(logs)}",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for program in programs:
            parts += [
                f"[program:{program.name}]",
                f"command={_escaped(shlex.join(program.command))}",
                f"directory={_escaped(Path.cwd())}",
                f"priority={program.priority}",
                f"autostart={str(program.autostart).lower()}",
                "autorestart=true",
                "startsecs=1",
                "startretries=5",
                f"stopwaitsecs={program.stop_seconds}",
                "stopasgroup=true",
                "killasgroup=true",
                "redirect_stderr=true",
                f"stdout_logfile={_escaped(logs / (program.name + '.log'))}",
                "stdout_logfile_maxbytes=20MB",
                "stdout_logfile_backups=2",
            ]
        return "\n".join(parts) + "\n"


def _escaped(value: object) -> str:
    """supervisord expands `%`."""
    return str(value).replace("%", "%%")
