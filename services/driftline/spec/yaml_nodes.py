"""YAML with line numbers: values that know where they stand, and a list of everything that is wrong."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TypeVar

import yaml
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from driftline.spec.durations import parse_duration

T = TypeVar("T")

LONGEST_TEXT = 400
"""Of one mistake: it quotes what the file holds, which may be a megabyte."""


class Mistakes:
    """What is wrong so far, by line."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.found: list[tuple[int, str]] = []

    def add(self, line: int, text: str) -> None:
        """Note a mistake at a line that counts from 1."""
        shown = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 100]} ... {text[-100:]}"
        # what a file holds must neither break the line nor reach the terminal as an escape sequence
        self.found.append((line, "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)))

    def sorted(self) -> list[str]:
        """`file:line: what is wrong`, in order of lines."""
        return [f"{self._name}:{line}: {text}" for line, text in sorted(set(self.found))]


def load(text: str, mistakes: Mistakes) -> Node | None:
    """The document's root, or None with the mistake noted."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        # of a second document and of an undefined alias the problem alone is half a sentence
        context = f"{error.context}, " if isinstance(error, ComposerError) and error.context else ""
        mistakes.add(line, f"is not YAML: {context}{error.problem}")
        return None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        mistakes.add(line, f"is not YAML: the character #x{int(error.character):04x} may not stand in a text")
        return None
    except RecursionError:
        mistakes.add(1, "is nested too deeply")
        return None
    except yaml.YAMLError as error:
        mistakes.add(1, f"is not YAML: {error}")
        return None
    if node is None:
        mistakes.add(1, "is empty")
        return None
    return Node(node, mistakes)


class Node:
    """A value of the document. Whatever is not as asked for becomes a mistake and None, so that reading goes on."""

    def __init__(self, node: yaml.Node, mistakes: Mistakes) -> None:
        self._node = node
        self._mistakes = mistakes

    def mistake(self, text: str) -> None:
        """Note a mistake at this value's line."""
        self._mistakes.add(self._node.start_mark.line + 1, text)

    def mapping(self) -> dict[str, Node]:
        """Keys and values; a repeated key is a mistake."""
        if not isinstance(self._node, yaml.MappingNode):
            self.mistake("expected a mapping (`name: value`)")
            return {}
        found: dict[str, Node] = {}
        for key, value in self._node.value:
            name = Node(key, self._mistakes).text()
            if name is None:
                continue
            if name in found:
                self._mistakes.add(key.start_mark.line + 1, f"`{name}` appears twice")
            found[name] = Node(value, self._mistakes)
        return found

    def fields(
        self, required: Sequence[str] = (), optional: Sequence[str] = (), later: Sequence[str] = ()
    ) -> dict[str, Node]:
        """A mapping with these keys only. `later`: words that a later version will understand."""
        found = self.mapping()
        if isinstance(self._node, yaml.MappingNode):
            for name in required:
                if name not in found:
                    self.mistake(f"`{name}` is missing")
        valid = (*required, *optional)
        for name, node in list(found.items()):
            if name in later:
                node.mistake(f"`{name}` is not supported yet")
            elif name not in valid:
                node.mistake(f"unknown word `{name}`{nearest(name, valid)}")
            else:
                continue
            del found[name]
        return found

    def keys(self) -> list[str]:
        """The keys of a mapping that `mapping` has looked at already."""
        if not isinstance(self._node, yaml.MappingNode):
            return []
        return [str(key.value) for key, _ in self._node.value if isinstance(key, yaml.ScalarNode)]

    def items(self) -> list[Node]:
        """The values of a list."""
        if not isinstance(self._node, yaml.SequenceNode):
            self.mistake("expected a list")
            return []
        return [Node(node, self._mistakes) for node in self._node.value]

    def text(self) -> str | None:
        """A scalar as it is written."""
        if not isinstance(self._node, yaml.ScalarNode) or self._node.tag == "tag:yaml.org,2002:null":
            self.mistake("expected a value")
            return None
        text = str(self._node.value)
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            self.mistake("half a surrogate pair is no character")
            return None
        return text

    def texts(self) -> tuple[str, ...] | None:
        """A list of scalars as they are written; a repeated one is a mistake."""
        values = [text for item in self.items() if (text := item.text()) is not None]
        if len(set(values)) != len(values):
            self.mistake("a value appears twice")
        return tuple(dict.fromkeys(values)) or None

    def words(self, valid: Sequence[str], what: str) -> tuple[str, ...]:
        """A list of known words."""
        for item in self.items():
            text = item.text()
            if text is not None and text not in valid:
                item.mistake(f"unknown {what} `{text}`{nearest(text, valid)}")
        return tuple(text for text in self.texts() or () if text in valid)

    def choice(self, valid: Sequence[str], later: Sequence[str] = ()) -> str | None:
        """One of some words."""
        text = self.text()
        if text is None or text in valid:
            return text
        self.mistake(
            f"`{text}` is not supported yet" if text in later else f"unknown word `{text}`{nearest(text, valid)}"
        )
        return None

    def number(self) -> float | None:
        """A finite number."""
        text = self.text()
        if text is None:
            return None
        try:
            value = float(text.replace("_", ""))
        except ValueError:
            self.mistake(f"`{text}` is no number")
            return None
        if not math.isfinite(value):
            self.mistake(f"`{text}` is not finite")
            return None
        return value

    def count(self) -> int | None:
        """A whole number that is not negative."""
        value = self.number()
        if value is not None and (value < 0 or value != int(value)):
            self.mistake(f"{value:g} is no count; write a whole number that is not negative")
            return None
        return None if value is None else int(value)

    def range(self) -> tuple[float, float] | None:
        """`[low, high]`."""
        numbers = [item.number() for item in self.items()]
        if len(numbers) != 2:
            self.mistake("a range is `[low, high]`")
            return None
        low, high = numbers
        if low is None or high is None:
            return None
        if low >= high:
            self.mistake(f"the range is empty: {low:g} is not below {high:g}")
            return None
        return low, high

    def is_list(self) -> bool:
        """Whether this is a list."""
        return isinstance(self._node, yaml.SequenceNode)

    def is_mapping(self) -> bool:
        """Whether this is a mapping."""
        return isinstance(self._node, yaml.MappingNode)

    def is_text(self, text: str) -> bool:
        """Whether this is the scalar `text`."""
        return isinstance(self._node, yaml.ScalarNode) and self._node.value == text

    def flag(self) -> bool | None:
        """`true` or `false`."""
        text = self.choice(("true", "false"))
        return None if text is None else text == "true"

    def parsed(self, parse: Callable[[str], T], default: T) -> T:
        """The text read by `parse`, whose `ValueError` becomes a mistake."""
        text = self.text()
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.mistake(str(error))
            return default


def read_duration(node: Node | None, default: timedelta, *, zero: bool = False) -> timedelta:
    """A duration such as `15m`, longer than zero unless `zero`. Mistakes are noted."""
    if node is None:
        return default
    length = node.parsed(parse_duration, default)
    if not length and not zero:
        node.mistake("this duration must be longer than zero")
        return default
    return length


def nearest(word: str, valid: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest valid word, else the list of them."""
    valid = list(valid)
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.6)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; known: {', '.join(valid)}" if valid else ""
