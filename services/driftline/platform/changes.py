"""What a step of the checkpointed loop changes and writes."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline.platform.records import Outgoing


@dataclass
class Changes:
    """Changes of the stored state: named hashes of field -> value, and named logs, which only grow at their end.

    Applied in this order: `forget` whole hashes and logs of these names, `drop` fields, `put` fields, `append` bytes.
    """

    forget: list[str] = field(default_factory=list)
    drop: dict[str, list[bytes]] = field(default_factory=dict)
    put: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    append: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Step:
    """What came of a step: the state's changes and the records to write, in order.

    The relay waits for the acknowledgement of everything before a record whose topic differs from the one before it, so
    a baseline's marks and the `models` event that names its version become readable in that order.
    """

    changes: Changes = field(default_factory=Changes)
    outbox: list[Outgoing] = field(default_factory=list)
