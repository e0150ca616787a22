"""Where things are: environment variables, else what `driftline up` wrote into the state directory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from driftline.errors import DeploymentError
from driftline.events.topics import Topic


class LocalServers(msgspec.Struct, frozen=True, kw_only=True):
    """`<state>/servers.json`: addresses of the servers that run under this state directory."""

    bootstrap: str
    redis_url: str


@dataclass(frozen=True)
class Settings:
    """One deployment seen from one process."""

    bootstrap: str
    redis_url: str = field(repr=False)  # it may hold a password
    prefix: str
    state_dir: Path
    archive_dir: Path
    artifact_dir: Path
    key_dir: Path | None = None

    @property
    def keys(self) -> Path:
        """Where keys are: `key_dir`, else `keys` in the state directory."""
        return self.key_dir or self.state_dir / "keys"

    def topic(self, topic: Topic) -> str:
        """The topic's full name."""
        return self.prefix + topic.value

    def group(self, service: str) -> str:
        """The consumer group of a service."""
        return self.prefix + service


def without_password(url: str) -> str:
    """A server's URL as it may be shown: `redis://ada:***@host:6379/0`. One among its parameters is hidden too."""
    return re.sub(r"(?<=[?&])(\w*password)=[^&#]*", r"\1=***", re.sub(r"(?<=//)([^:@]*):.*@", r"\1:***@", url))


def state_directory() -> Path:
    """`DRIFTLINE_STATE_DIR`, else `.driftline` in the working directory."""
    return Path(os.environ.get("DRIFTLINE_STATE_DIR", ".driftline")).absolute()


def key_directory() -> Path:
    """`DRIFTLINE_KEY_DIR`, else `keys` in the state directory."""
    return Path(os.environ.get("DRIFTLINE_KEY_DIR", state_directory() / "keys")).absolute()


def load() -> Settings:
    """Read the settings. Raises `DeploymentError` where no broker or Redis is known."""
    state = state_directory()
    bootstrap = os.environ.get("DRIFTLINE_BOOTSTRAP")
    redis_url = os.environ.get("DRIFTLINE_REDIS_URL")
    servers = state / "servers.json"
    if (not bootstrap or not redis_url) and servers.exists():
        local = msgspec.json.decode(servers.read_bytes(), type=LocalServers)
        bootstrap = bootstrap or local.bootstrap
        redis_url = redis_url or local.redis_url
    if not bootstrap or not redis_url:
        missing = "DRIFTLINE_BOOTSTRAP" if not bootstrap else "DRIFTLINE_REDIS_URL"
        raise DeploymentError(
            f"no servers known: start them with `driftline up`, or set {missing} (state directory: {state})"
        )
    return Settings(
        bootstrap=bootstrap,
        redis_url=redis_url,
        prefix=os.environ.get("DRIFTLINE_PREFIX", "driftline."),
        state_dir=state,
        archive_dir=Path(os.environ.get("DRIFTLINE_ARCHIVE_DIR", state / "archive")).absolute(),
        artifact_dir=Path(os.environ.get("DRIFTLINE_ARTIFACT_DIR", state / "artifacts")).absolute(),
        key_dir=key_directory(),
    )
