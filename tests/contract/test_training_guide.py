"""What `docs/guide/training.md` shows works as it stands there: its function, its command, its specs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.events.base import encode
from driftline.platform.artifacts import load
from driftline.platform.kept_rows import TRIAL, VALIDATED
from driftline.platform.settings import Settings
from driftline.spec.plain import to_plain
from driftline.spec.reader import parse_spec
from driftline.trainer.job import ABOUT, FEATURES, JOB, LOG, Job
from driftline.trainer.process import Child

GUIDES = Path(__file__).parents[2] / "docs" / "guide"
DAY = 86_400_000


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (GUIDES / page).read_text(), re.DOTALL)


def spec_with(retrain: str):
    """The shop's spec, with another `retrain`."""
    shop = blocks("monitor-spec.md", "yaml")[0]
    return parse_spec(re.sub(r"retrain:\n(  .*\n)+", retrain, shop), "guide")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where the trainer is started, with the files of the guide."""
    monkeypatch.chdir(tmp_path)
    for name in ("BOOTSTRAP", "REDIS_URL"):
        monkeypatch.setenv(f"DRIFTLINE_{name}", "redis://nowhere")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    function, script = blocks("training.md", "python")
    (shell,) = blocks("training.md", "sh")
    (tmp_path / "shop").mkdir()
    for name, text in {"shop/training.py": function, "train.py": script, "train.sh": shell}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "train.sh").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("plugin", [0, 1], ids=["function", "command"])
def test_what_the_guide_shows_trains_a_model(place, plugin, monkeypatch):
    spec = spec_with(blocks("training.md", "yaml")[plugin])
    monkeypatch.syspath_prepend(place)
    chance, n = np.random.default_rng(1), 600
    amount = chance.random(n) * 5000
    features = {
        "amount": pa.array(amount),
        "items": pa.array(chance.integers(1, 9, n).astype(float)),
        "country": pa.array(["AT", "CH", None] * (n // 3), pa.string()),
        "discount": pa.array([None if i % 7 else 0.1 for i in range(n)], pa.float64()),
    }
    outcome = ["returned" if x else "kept" for x in chance.random(n) < amount / 5000]
    about = {"id": [f"o{i}" for i in range(n)], "time": [i * DAY // 30 for i in range(n)], "outcome": outcome}
    pq.write_table(pa.table(features), place / FEATURES)
    pq.write_table(pa.table(about), place / ABOUT)
    job = Job(
        spec=to_plain(spec),
        version="v",
        candidate="c",
        source="s",
        start=0,
        artifact_dir=str(place / "artifacts"),
        key_dir=str(place / "keys"),
    )
    (place / JOB).write_bytes(encode(job))
    told: list[str] = []
    with Child(place) as child:
        result = child.train(spec.retrain, lambda: False, told.append)
    settings = Settings("nowhere", "redis://nowhere", "t.", place, place, place / "artifacts")
    stored = load(settings, result.artifact)
    assert stored.manifest.model == "order-returns"
    assert {figure.name for figure in result.checks} == {"accuracy", "f1", "auc", "log_loss"}
    if plugin == 0:
        assert 0.5 < result.validation["auc"] <= 1
        assert {VALIDATED, TRIAL} < stored.manifest.files.keys()
    else:
        assert spec.retrain.command == ("./train.sh", "--depth", "4")
        assert "driftline-progress: 0.3 fitting on 600 rows" in (place / LOG).read_text()
