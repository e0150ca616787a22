"""What stands in deploy/ fits the code: modules that exist, variables that are read, units that systemd takes."""

from __future__ import annotations

import configparser
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from driftline.errors import ArtifactFault
from driftline.events.topics import DeadLetterReason
from driftline.platform import settings
from driftline.platform.local.stack import MEMORY, WORKERS
from driftline.platform.worker import END_S
from driftline.reference_words import SETTINGS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = {"driftline@.service": WORKERS, "driftline-monitor@.service": ("1",)}


def unit(name):
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string((DEPLOY / name).read_text())
    return parser


def example():
    lines = (DEPLOY / "driftline.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_units_are_those_that_are_tested():
    assert {path.name for path in DEPLOY.glob("*.service")} == set(UNITS)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_modules_that_exist(name):
    for instance in UNITS[name]:
        python, option, module = unit(name)["Service"]["ExecStart"].replace("%i", instance).split()
        assert python.endswith("/bin/python")
        assert option == "-m"
        assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_lets_a_worker_stop_by_itself_and_starts_it_again(name):
    service = unit(name)["Service"]
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > END_S
    assert service["Restart"] == "always"
    assert unit(name)["Unit"]["StartLimitIntervalSec"] == "0"


@pytest.mark.parametrize("name", ["driftline@.service", "driftline-monitor@.service"])
def test_workers_give_back_memory_as_those_do_that_up_starts(name):
    told = dict(pair.split("=", 1) for pair in unit(name)["Service"]["Environment"].split())
    assert MEMORY.items() <= told.items()


def test_a_further_monitor_has_a_slot_of_its_own():
    assert unit("driftline-monitor@.service")["Service"]["Environment"].split()[0] == "DRIFTLINE_SLOT=%i"
    assert "DRIFTLINE_SLOT" not in example()


def test_the_example_sets_variables_that_are_read_and_gives_complete_settings(monkeypatch):
    assert example().keys() <= SETTINGS.keys()
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in example().items():
        monkeypatch.setenv(name, value)
    found = settings.load()
    assert (found.bootstrap, found.redis_url) == ("kafka.example:9092", "redis://redis.example:6379/0")
    assert (found.state_dir, found.archive_dir, found.artifact_dir) == tuple(
        Path("/var/lib/driftline") / part for part in (".", "archive", "artifacts")
    )
    assert f"/var/lib/{unit('driftline@.service')['Service']['StateDirectory']}" == str(found.state_dir)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit(name, tmp_path):
    # the interpreter and the user of a production machine are not on this one
    text = (DEPLOY / name).read_text().replace("/opt/driftline/bin/python", sys.executable)
    path = tmp_path / name.replace("@", f"@{UNITS[name][0]}")
    path.write_text(text)
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    about_it = [line for line in (found.stdout + found.stderr).splitlines() if path.name in line]
    assert about_it == []


def test_the_guide_to_operations_names_every_reason_of_a_dead_letter_every_fault_of_an_artifact_and_every_worker():
    text = (ROOT / "docs" / "operations.md").read_text()
    assert all(f"`{reason}`" in text for reason in DeadLetterReason)
    assert all(f"`{fault}`" in text for fault in ArtifactFault)
    assert all(f"`{worker}`" in text for worker in WORKERS)
