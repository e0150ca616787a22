"""`schemas/` is what the typed events say, and somebody else's validator agrees with our decoder."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml

from driftline.events.examples import BAD, GOOD
from driftline.events.schemas import differences
from driftline.events.topics import TOPICS

ROOT = Path(__file__).parents[2] / "schemas"


def schema(name):
    return json.loads((ROOT / f"{name}.schema.json").read_text())


def test_the_schemas_are_as_generated_from_the_events():
    assert differences(ROOT) == []


@pytest.mark.parametrize("name", GOOD)
def test_a_good_example_passes_the_schema_and_our_decoder(name):
    text = (ROOT / "examples" / name / "good.json").read_text()
    jsonschema.Draft202012Validator(schema(name)).validate(json.loads(text))
    assert msgspec.json.decode(text, type=type(GOOD[name])) == GOOD[name]


@pytest.mark.parametrize(("name", "what"), [(name, what) for name in BAD for what in BAD[name]])
def test_a_bad_example_is_refused_by_our_decoder(name, what):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode((ROOT / "examples" / name / f"bad-{what}.json").read_text(), type=type(GOOD[name]))


@pytest.mark.parametrize(
    ("name", "what"),
    # a schema's date-time format is an annotation that validators need not check
    [(name, what) for name in BAD for what in BAD[name] if what != "time-as-words"],
)
def test_a_bad_example_is_refused_by_the_schema(name, what):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema(name)).validate(
            json.loads((ROOT / "examples" / name / f"bad-{what}.json").read_text())
        )


def test_every_topic_is_a_channel_whose_messages_exist():
    document = yaml.safe_load((ROOT / "asyncapi.yaml").read_text())
    assert {channel["address"] for channel in document["channels"].values()} == {f"driftline.{t}" for t in TOPICS}
    messages = document["components"]["messages"]
    for channel in document["channels"].values():
        assert channel["messages"].keys() <= messages.keys()
    for message in messages.values():
        if "payload" in message:
            assert (ROOT / message["payload"]["schema"]["$ref"]).exists()
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]
