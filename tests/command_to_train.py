"""A command that trains, as somebody might write it without anything of Driftline's but the format of the files.

It does what the functions do: `python -m tests.command_to_train boosted IN OUT`; and what only a command can do wrong.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pandas as pd
import skops.io
from tests import functions_to_train

from driftline.client.training import TrainingData


def say(fraction: float, message: str) -> None:
    print("driftline-progress:", fraction, " ".join(message.split()), flush=True)


def main(what: str, read: Path, write: Path) -> None:
    spec = json.loads((read / "job.json").read_text())["spec"]
    frame, about = pd.read_parquet(read / "features.parquet"), pd.read_parquet(read / "about.parquet")
    data = TrainingData(spec["model"], frame, about["outcome"].tolist(), about["time"].tolist(), progress=say)
    trained = getattr(functions_to_train, "boosted" if what.startswith("then_") else what)(data)
    (write / "notes.txt").write_text("of no interest to anybody")
    model = skops.io.dumps(trained.estimator)
    if what == "then_half":
        (write / "model.skops").write_bytes(model[: len(model) // 2])
        os.kill(os.getpid(), 9)
    (write / "model.skops").write_bytes(model[: len(model) // 2] if what == "then_torn" else model)
    if what != "then_nothing":
        if trained.trial is not None:
            (write / "trial.skops").write_bytes(skops.io.dumps(trained.trial))
        on = None if trained.validated_on is None else list(trained.validated_on)
        told = {"format": "pickle" if what == "then_pickle" else "skops", "validation": dict(trained.validation)}
        told |= {"validated_on": on}
        (write / "trained.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
