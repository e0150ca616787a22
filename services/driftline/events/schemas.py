"""Writes `schemas/`: the contract for any language, generated from the typed events.

python -m driftline.events.schemas            writes them
python -m driftline.events.schemas --check    exits 1 if what is written differs
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

from driftline.events.cloudevents import type_name
from driftline.events.columns import COLUMNS, PredictionBatch
from driftline.events.examples import BAD, GOOD, bad_example
from driftline.events.topics import TOPICS, Kept, Spread, Topic

ROOT = Path(__file__).parents[3] / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def files() -> dict[str, str]:
    """Every generated file by its path under `schemas/`."""
    found = {f"{name}.schema.json": _json(_schema(type(event))) for name, event in GOOD.items()}
    for name, event in GOOD.items():
        found[f"examples/{name}/good.json"] = _json(msgspec.to_builtins(event, str_keys=True))
    for name, examples in BAD.items():
        for what in examples:
            found[f"examples/{name}/bad-{what}.json"] = _json(bad_example(name, what))
    found["asyncapi.yaml"] = yaml.safe_dump(_asyncapi(), sort_keys=False, width=120, allow_unicode=True)
    return found


def write(root: Path) -> None:
    """Write all files and remove those that are no longer generated."""
    wanted = files()
    for path in [path for path in root.rglob("*") if path.is_file() and str(path.relative_to(root)) not in wanted]:
        path.unlink()
    for name, text in wanted.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def differences(root: Path) -> list[str]:
    """Files under `root` that are not as generated."""
    wanted = files()
    there = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    (reference,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    name = reference["$ref"].rsplit("/", 1)[1]
    root = components.pop(name)
    schema = {"$schema": DIALECT, "title": name, **root}
    return schema | ({"$defs": components} if components else {})


def _asyncapi() -> dict[str, Any]:
    kept = {Kept.RETENTION: "the deployment's retention", Kept.FOREVER: "for ever", Kept.DAY: "a day"}
    spread = {Spread.SOURCE: "the deployment's partitions", Spread.SHARD: "one a shard of control", Spread.ONE: "one"}
    held = _names_by_topic()
    channels, operations = {}, {}
    for topic, rule in TOPICS.items():
        name = _camel(topic)
        channels[name] = {
            "address": f"driftline.{topic}",
            "description": f"Key: {rule.key or 'none'}. Partitions: {spread[rule.spread]}. Kept: {kept[rule.kept]}. "
            f"Writer: {rule.writer}.",
            "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in held[topic]},
        }
        ours = rule.writer != "applications"
        operations[("publish" if ours else "consume") + name[0].upper() + name[1:]] = {
            "action": "send" if ours else "receive",
            "channel": {"$ref": f"#/channels/{name}"},
        }
    messages = {
        name: {
            "name": name,
            "contentType": COLUMNS if isinstance(event, PredictionBatch) else "application/json",
            "payload": {"schemaFormat": f"application/schema+json;version={DIALECT}", "schema": _reference(name)},
            "headers": {
                "type": "object",
                "properties": {"ce_type": {"const": type_name(type(event))}, "ce_id": {"type": "string"}},
            },
        }
        for name, event in GOOD.items()
    }
    messages["dead-letter"] = {
        "name": "dead-letter",
        "summary": "The original bytes, key and headers, with headers driftline.reason, .detail, .topic, .partition, "
        ".offset, .row and .at.",
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Driftline",
            "version": "1",
            "description": "Values are UTF-8 JSON. The prefix `driftline.` is the deployment's.",
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"{name}.schema.json"}


def _names_by_topic() -> dict[Topic, list[str]]:
    by_type = {type(event): name for name, event in GOOD.items()}
    found: dict[Topic, list[str]] = {}
    for topic, rule in TOPICS.items():
        held: tuple[Any, ...] = getattr(rule.holds, "__args__", (rule.holds,))
        found[topic] = ["dead-letter"] if rule.holds is None else [by_type[kind] for kind in held]
    return found


def _camel(topic: str) -> str:
    return re.sub(r"-(.)", lambda match: match[1].upper(), topic)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def main() -> None:
    """See the module."""
    if "--check" in sys.argv[1:]:
        if found := differences(ROOT):
            sys.exit(f"schemas/ is not as generated ({', '.join(found)}); run `make schemas`")
        return
    write(ROOT)


if __name__ == "__main__":
    main()
