"""Bytes that are no model, however they are broken: refused by name, never anything else."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from driftline.errors import ArtifactError, ArtifactFault
from driftline.platform.formats import SKOPS

PATH = Path("m/1/model.skops")
GOOD = SKOPS.dump(LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0]))
LOCAL, CENTRAL = (b"PK\x03\x04", 6), (b"PK\x01\x02", 8)
"""The two headers that a zip has of each file, and where the flags stand in it; the method of compression follows."""


def with_schema(schema: bytes) -> bytes:
    to = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, schema if name == "schema.json" else old.read(name))
    return to.getvalue()


def schema() -> bytes:
    with zipfile.ZipFile(io.BytesIO(GOOD)) as file:
        return file.read("schema.json")


def with_headers(field: int, number: int) -> bytes:
    """With `number` in both headers of each file: field 0 has the flags, 1 the method."""
    data = bytearray(GOOD)
    for start, flags in (LOCAL, CENTRAL):
        at = data.find(start)
        while at != -1:
            struct.pack_into("<H", data, at + flags + 2 * field, number)
            at = data.find(start, at + 4)
    return bytes(data)


def with_a_spoilt_stream() -> bytes:
    data = bytearray(with_schema(schema()))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as file:
        found = file.getinfo("schema.json")
    begin = found.header_offset + 30 + len(found.filename)
    data[begin : begin + 8] = b"\xff" * 8
    return bytes(data)


BROKEN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no zip": lambda: b"\x80\x04 a pickle",
    "cut short": lambda: GOOD[:200],
    "spoilt stream": with_a_spoilt_stream,
    "encrypted": lambda: with_headers(0, 1),
    "unknown compression": lambda: with_headers(1, 99),
    "deep": lambda: with_schema(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "no schema": lambda: with_schema(b""),
    "another schema": lambda: with_schema(b"[]"),
    "unknown loader": lambda: with_schema(b'{"__loader__": "odd", "__class__": "x", "__module__": "y"}'),
}


def test_a_model_comes_back():
    assert SKOPS.load(GOOD, PATH).predict([[2.0]]).tolist() == pytest.approx([5.0])
    assert SKOPS.load(with_schema(schema()), PATH).predict([[2.0]]).tolist() == pytest.approx([5.0])


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_no_model_is_refused_with_its_name_and_its_cause(how):
    with pytest.raises(ArtifactError, match=r"m/1/model\.skops cannot be loaded: ") as caught:
        SKOPS.load(BROKEN[how](), PATH)
    assert caught.value.fault == ArtifactFault.UNLOADABLE
    assert type(caught.value.__cause__).__name__ in str(caught.value)


@given(at=st.integers(0, len(GOOD) - 1), flip=st.integers(1, 255))
def test_a_changed_byte_never_raises_anything_else(at, flip):
    data = bytearray(GOOD)
    data[at] ^= flip
    try:
        SKOPS.load(bytes(data), PATH)
    except ArtifactError:
        return


def test_memory_that_runs_out_is_an_answer_too(monkeypatch):
    class Skops:
        def get_untrusted_types(self, data):
            raise MemoryError

    monkeypatch.setattr("driftline.platform.formats._skops", Skops)
    with pytest.raises(ArtifactError, match="cannot be loaded: MemoryError"):
        SKOPS.load(GOOD, PATH)
