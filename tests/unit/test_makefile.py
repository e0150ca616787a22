"""`make setup` on machines that lack something: one sentence that says what, and an exit code that is not 0."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make setup` reads of a checkout."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def python_that(checkout: Path, does: str) -> str:
    """A `python3` that runs the shell lines `does`, in which `$*` are its arguments."""
    path = checkout / "fake-python"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


def make_setup(checkout: Path, python: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MAKEFLAGS": "", "PYTHON": python}
    return subprocess.run(["make", "setup"], cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def test_packages_that_cannot_be_installed_are_told_and_the_next_setup_tries_again(checkout):
    installs = "mkdir -p .venv/bin; printf '#!/bin/sh\\necho no index >&2; exit 1\\n' > .venv/bin/python; "
    python = python_that(checkout, f'case "$*" in *venv*) {installs} chmod +x .venv/bin/python;; esac')
    for _ in range(2):
        ended = make_setup(checkout, python)
        assert ended.returncode != 0
        assert ended.stderr.startswith(
            "no index\nsetup: the packages could not be installed, for the reason above; "
            "check the network, or name a mirror in PIP_INDEX_URL, and run it again\n"
        )
    assert not (checkout / ".venv" / ".driftline-setup").exists()


def test_a_python_without_venv_is_told_with_the_package_that_brings_it(checkout):
    ended = make_setup(checkout, python_that(checkout, 'case "$*" in *venv*) exit 1;; esac'))
    assert ended.returncode != 0
    assert ended.stderr.startswith("no venv module: install python3-venv, or set PYTHON\n")


def test_an_old_python_is_told_with_the_way_to_name_another(checkout):
    refuses = "echo 'Driftline needs Python >= 3.11; set PYTHON=/path/to/python' >&2; exit 1"
    ended = make_setup(checkout, python_that(checkout, f'case "$*" in *version_info*) {refuses};; esac'))
    assert ended.returncode != 0
    assert ended.stderr.startswith("Driftline needs Python >= 3.11")
    assert not (checkout / ".venv").exists()


def test_make_test_keeps_what_is_in_one_file_in_one_process(request):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("there is one process")
    assert request.node.nodeid.endswith("@test_makefile.py")
