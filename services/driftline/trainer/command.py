"""The plug-in for any language: a command line, named in the spec as `command: [./train.sh, --fast]`.

It is run where the trainer was started, with two more arguments: a directory to read (`job.json`, `features.parquet`,
`about.parquet`, row i of one is row i of the other) and an empty one to write `model.skops` and, at last,
`trained.json` into. It is done when it has ended with code 0 and both are there; nothing else that it writes is read.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from driftline.client.training import Trained, TrainingData
from driftline.errors import DriftlineError
from driftline.events.base import decode
from driftline.events.retraining import Told
from driftline.platform.artifacts import MODEL, load_estimator
from driftline.platform.kept_rows import TRIAL
from driftline.trainer.job import Plugin

OUTPUT, TRAINED = "output", "trained.json"


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """`trained.json`: the format of the model beside it, the command's own validation figures and the rows they are of.

    They are of the model in `trial.skops` where that is there too.
    """

    format: Literal["skops"]
    validation: dict[str, Told] = {}
    validated_on: tuple[int, ...] | None = None


def command_plugin(words: Sequence[str]) -> Plugin:
    """Runs the command and takes what it has written, which is loaded only if it holds nothing but allowed types."""

    def make(directory: Path, _data: TrainingData) -> Trained:
        output = directory / OUTPUT
        shutil.rmtree(output, ignore_errors=True)  # of one that was ended
        output.mkdir()
        _run([*words, str(directory), str(output)])
        made = _made(output / TRAINED)
        trial = load_estimator(output / TRIAL) if (output / TRIAL).exists() else None
        return Trained(load_estimator(output / MODEL), made.validation, made.validated_on, trial)

    return make


def _run(words: Sequence[str]) -> None:
    said = shlex.join(words[:-2])
    try:
        code = subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode
    except OSError as error:
        raise DriftlineError(f"{said} cannot be started in {Path.cwd()}: {error.strerror}") from error
    if code:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        raise DriftlineError(f"{said} {how}")


def _made(path: Path) -> Made:
    try:
        return decode(path.read_bytes(), Made)
    except OSError as error:
        raise DriftlineError(f"the command ended well, but {TRAINED} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DriftlineError(f"{TRAINED} is not as it should be: {error}") from error
