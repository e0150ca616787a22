"""Types made from a spec: its predictions as structs, so that decoding checks every declared feature at C speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from driftline.events.inputs import Label, Text, Time, Value
from driftline.spec.model import MonitorSpec

Number = float | None
Category = str | int | float | bool | None
Role = Literal["champion", "shadow"]


def prediction_types(specs: Mapping[str, MonitorSpec]) -> dict[type, str]:
    """One type a model, told apart by the field `model`: a single message. By type, the model's name."""
    return {_single(spec): model for model, spec in specs.items()}


def column_types(specs: Mapping[str, MonitorSpec]) -> dict[type, str]:
    """The same for a message of columns: each field that differs by row is an array."""
    return {_columns(spec): model for model, spec in specs.items()}


def decoder(types: Mapping[type, str]) -> Callable[[bytes], Any] | None:
    """Decodes a message into whichever of `types` its `model` names; None where there is none."""
    if not types:
        return None
    union = next(iter(types))
    for other in list(types)[1:]:
        union = union | other  # type: ignore[assignment]  # a union is as good as a type here
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(union).decode
    return decode


def _single(spec: MonitorSpec) -> type[msgspec.Struct]:
    features = msgspec.defstruct(
        "Features",
        [(field, kind, None) for field, kind in _features(spec).items()],
        rename=_names(spec),
        gc=False,
        frozen=True,
    )
    fields: list[Any] = [
        ("id", Text),
        ("version", Text),
        ("time", Time),
        ("prediction", Label),
        ("role", Role, "champion"),
        ("features", features, features()),
        ("attributes", dict[str, Value] | msgspec.UnsetType, msgspec.UNSET),
        ("score", float | None, None),
        ("scores", _scores(spec, float, 0.0), None),
        ("latency_ms", float | None, None),
    ]
    return msgspec.defstruct("Single", fields, tag_field="model", tag=spec.model, gc=False)


def _columns(spec: MonitorSpec) -> type[msgspec.Struct]:
    features = msgspec.defstruct(
        "FeatureColumns",
        [(field, list[kind] | msgspec.UnsetType, msgspec.UNSET) for field, kind in _features(spec).items()],  # type: ignore[valid-type]  # kinds are values here
        rename=_names(spec),
        frozen=True,
    )
    unset = msgspec.UNSET
    fields: list[Any] = [
        ("id", list[Text]),
        ("version", Text),
        ("time", list[Time]),
        ("prediction", list[Label]),
        ("role", Role, "champion"),
        ("features", features, features()),
        ("attributes", dict[str, list[Value]] | msgspec.UnsetType, unset),
        ("score", list[float | None] | msgspec.UnsetType, unset),
        ("scores", _scores(spec, list[float | None], unset), None),
        ("latency_ms", list[float | None] | msgspec.UnsetType, unset),
    ]
    return msgspec.defstruct("Columns", fields, tag_field="model", tag=spec.model)


def _scores(spec: MonitorSpec, kind: Any, default: Any) -> Any:
    """Of a multiclass model a field a label, s0, s1, ..., and no other; else they are not looked at any further."""
    if spec.task != "multiclass":
        return dict[str, kind] | None
    names = {f"s{i}": label for i, label in enumerate(spec.labels)}
    fields = [(field, kind if default == 0.0 else kind | msgspec.UnsetType, default) for field in names]
    return msgspec.defstruct("Scores", fields, rename=names, forbid_unknown_fields=True, gc=False, frozen=True) | None


def _features(spec: MonitorSpec) -> dict[str, Any]:
    """Fields f0, f1, ...: numbers, then categories, each in the order of the spec, as `core.plans.Plan` has them."""
    numbers = [Number for feature in spec.features.values() if feature.type == "number"]
    categories = [Category for feature in spec.features.values() if feature.type == "category"]
    return {f"f{i}": kind for i, kind in enumerate([*numbers, *categories])}


def _names(spec: MonitorSpec) -> dict[str, str]:
    """What each field is called in JSON; a feature's name need not be a Python name."""
    numbers = [name for name, feature in spec.features.items() if feature.type == "number"]
    categories = [name for name, feature in spec.features.items() if feature.type == "category"]
    return {f"f{i}": name for i, name in enumerate([*numbers, *categories])}
