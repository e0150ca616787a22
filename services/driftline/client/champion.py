"""Following the champion of a model: loaded, checked, and swapped in place when a new one is promoted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from driftline.errors import ArtifactError, DeploymentError, DriftlineError, InvalidRecord
from driftline.events.inputs import Label, Score, Value
from driftline.events.retraining import Artifact, ModelState
from driftline.events.retraining import Champion as Served
from driftline.events.topics import Topic
from driftline.platform import artifacts
from driftline.platform import settings as settings_module
from driftline.platform.following import Tail
from driftline.platform.lookups import read_event
from driftline.platform.records import Record
from driftline.platform.settings import Settings

log = logging.getLogger("driftline.client")

POLL_S = 0.5
RETRY_S = 30.0
"""How soon the follower tries a broken artifact again: it may still be on its way to this machine."""

Row = Mapping[str, Value]
"""Features of one prediction by name."""


class Scorer(Protocol):
    """A loaded artifact."""

    def answers(self, rows: Sequence[Row]) -> Sequence[tuple[Label, Score]]:
        """For each row the prediction and its score."""


Load = Callable[[Settings, Artifact], Scorer]


@dataclass(frozen=True)
class Answer:
    """What version `version` says about one row, as the fields of a `Prediction` of the same names have it."""

    version: str
    prediction: Label
    score: float | None
    scores: dict[str, float] | None = None


@dataclass(frozen=True)
class _Served:
    version: str
    artifact: Artifact
    scorer: Scorer


class Champion:
    """The champion of `model`, ready to predict: `Champion("flight-delay").predict(rows)`.

    With `follow`, a background thread swaps it within a second of a promotion; without, `refresh` does. A new champion
    whose artifact cannot be loaded, or whose checksums do not match, never replaces the one that serves, nor does a
    record that cannot be read: `problem` and the log say what is wrong. The artifact is tried again, and the next good
    promotion is taken. Where another version is to answer beside it, before a promotion or on probation after one,
    `predict_beside` does: publish its answers with the role `shadow`. Raises `DeploymentError` where the model has no
    champion yet, or none that can be read, `ArtifactError` where the first one cannot be loaded, `Unreachable`.
    """

    def __init__(
        self, model: str, settings: Settings | None = None, *, follow: bool = False, load: Load = artifacts.load
    ) -> None:
        self._model = model
        self._settings = settings or settings_module.load()
        self._load = load
        self._wanted: ModelState | None = None
        self._served: _Served | None = None
        self._beside: _Served | None = None
        self._unseen: str | None = None
        self._unread: str | None = None
        self._unloaded: str | None = None
        self._changing = threading.Lock()
        self._stop = threading.Event()
        self._follower: threading.Thread | None = None
        self._tail = Tail(self._settings, Topic.MODELS)
        try:
            self.refresh()
            self._serving()
        except BaseException:
            self._tail.close()
            raise
        if follow:
            self._follower = threading.Thread(target=self._follow, name=f"follow {model}", daemon=True)
            self._follower.start()

    @property
    def version(self) -> str:
        """The version that `predict` uses at this moment. Each `Answer` names the one that gave it."""
        return self._serving().version

    @property
    def problem(self) -> str | None:
        """Why a newer champion is not served, if one is not, or would not be seen."""
        return "; ".join(filter(None, (self._unseen, self._unread, self._unloaded))) or None

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer a row, all of one version. A feature that a row lacks counts as missing."""
        return _answers(self._serving(), rows)

    def predict_beside(self, rows: Sequence[Row]) -> list[Answer]:
        """The same of the version that is to answer beside the champion; none where there is none."""
        beside = self._beside
        return [] if beside is None else _answers(beside, rows)

    def refresh(self) -> bool:
        """Read `models` to its present end; True: another version serves now."""
        with self._changing:
            self._take(self._tail.catch_up())
            return self._swap()

    def close(self) -> None:
        """Stop following; `predict` goes on with the version that serves."""
        self._stop.set()
        if self._follower is not None:
            self._follower.join()
        self._tail.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serving(self) -> _Served:
        served = self._served
        if served is not None:
            return served
        if self._unloaded is not None:
            raise ArtifactError(self._unloaded)
        if self._unread is not None:
            raise DeploymentError(self._unread)
        raise DeploymentError(
            f"model {self._model!r} has no champion yet; bring in the first with `driftline models register`"
        )

    def _follow(self) -> None:
        tried = time.monotonic()
        while not self._stop.is_set():
            try:
                with self._changing:
                    records = self._tail.poll(POLL_S)
                    self._take(records)
                    if records or (self._unloaded and time.monotonic() - tried > RETRY_S):
                        tried = time.monotonic()
                        self._swap()
            except Exception as error:  # whatever it is: nobody would see this thread end, and the old version serve on
                self._unseen = f"promotions of model {self._model!r} are not seen: {_said(error)}"
                log.warning("%s", self._unseen, exc_info=not isinstance(error, DriftlineError))
                self._stop.wait(RETRY_S)

    def _take(self, records: Sequence[Record]) -> None:
        self._unseen = None
        for record in records:
            try:
                state = read_event(record, ModelState) if record.value else None
            except InvalidRecord as error:
                if record.key == self._model.encode():
                    place = f"offset {record.offset} of {record.source.topic}-{record.source.partition}"
                    self._unread = f"{place}, about model {self._model!r}, cannot be read: {error}"
                    log.error("%s", self._unread)
                continue
            if state is not None and state.model == self._model:
                self._wanted, self._unread = state, None

    def _swap(self) -> bool:
        """Serve what is wanted, if it is another one and can be loaded."""
        if self._wanted is None:
            return False
        self._swap_beside(self._wanted.shadow)
        version, artifact, served = self._wanted.champion.version, self._wanted.champion.artifact, self._served
        if served is not None and (served.version, served.artifact) == (version, artifact):
            self._unloaded = None
            return False
        try:
            if artifact is None:
                raise ArtifactError("it was registered without an artifact")
            scorer = self._load(self._settings, artifact)
        except Exception as error:  # whatever a loader raises is about this artifact: the next one may be good
            self._unloaded = f"version {version} of model {self._model!r} cannot be served: {_said(error)}"
            goes_on = f"version {served.version} goes on serving" if served else "none serves"
            log.error("%s; %s", self._unloaded, goes_on, exc_info=not isinstance(error, DriftlineError))
            return False
        log.info("model %s: version %s serves now", self._model, version)
        self._served, self._unloaded = _Served(version, artifact, scorer), None
        return True

    def _swap_beside(self, wanted: Served | None) -> None:
        """One that cannot be loaded does not answer; that it does not is seen where its answers are missed."""
        known = self._beside
        if wanted is None or wanted.artifact is None:
            self._beside = None
        elif known is None or (known.version, known.artifact) != (wanted.version, wanted.artifact):
            self._beside = None
            try:
                scorer = self._load(self._settings, wanted.artifact)
            except Exception as error:  # as with a champion
                said = f"version {wanted.version} of model {self._model!r} cannot answer beside: {_said(error)}"
                log.error("%s", said, exc_info=not isinstance(error, DriftlineError))
                return
            self._beside = _Served(wanted.version, wanted.artifact, scorer)
            log.info("model %s: version %s answers beside the champion", self._model, wanted.version)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, DriftlineError) else f"{type(error).__name__}: {error}"


def _answers(served: _Served, rows: Sequence[Row]) -> list[Answer]:
    return [
        Answer(served.version, label, None, score) if isinstance(score, dict) else Answer(served.version, label, score)
        for label, score in served.scorer.answers(rows)
    ]
