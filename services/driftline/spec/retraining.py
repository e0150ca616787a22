"""Reading how candidates are made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from driftline.events.base import to_millis
from driftline.spec.durations import parse_budget
from driftline.spec.model import MEMORY_LIMIT, RetrainSpec
from driftline.spec.sizes import parse_size, show_size
from driftline.spec.yaml_nodes import Node, read_duration

DAY = timedelta(days=1)
LEAST_MEMORY = 500_000_000  # Python with what reads rows and stores models takes 350 MB
RETRIES, MAX_REFUSALS = 2, 3


def read_retrain(node: Node | None, horizon: timedelta) -> RetrainSpec | None:
    """The section `retrain`; None without one. Mistakes are noted."""
    if node is None:
        return None
    fields = node.fields(
        required=("data",),
        optional=(
            *("trainer", "command", "schedule", "cooldown", "budget", "improve_within", "deadline"),
            *("time_limit", "memory_limit", "retries", "max_refusals"),
        ),
    )
    if ("trainer" in fields) == ("command" in fields):
        node.mistake("name either a `trainer`, which is a Python function, or a `command`")
    data = (
        fields["data"].fields(required=("span", "holdout"), optional=("label_delay", "exclude"))
        if "data" in fields
        else {}
    )
    retries = fields["retries"].count() if "retries" in fields else RETRIES
    refusals = fields["max_refusals"].count() if "max_refusals" in fields else MAX_REFUSALS
    budget, per = fields["budget"].parsed(parse_budget, (8, 60 * DAY)) if "budget" in fields else (8, 60 * DAY)
    return RetrainSpec(
        trainer=fields["trainer"].parsed(_function, None) if "trainer" in fields else None,
        command=_words(fields["command"]) if "command" in fields else (),
        span=read_duration(data.get("span"), DAY),
        holdout=read_duration(data.get("holdout"), DAY),
        label_delay=read_duration(data.get("label_delay"), horizon, zero=True),
        cooldown=read_duration(fields.get("cooldown"), DAY, zero=True),
        budget=budget,
        budget_per=per,
        improve_within=read_duration(fields.get("improve_within"), 14 * DAY),
        deadline=read_duration(fields.get("deadline"), DAY),
        time_limit=read_duration(fields.get("time_limit"), timedelta(minutes=30)),
        memory_limit=_memory(fields.get("memory_limit")),
        schedule=fields["schedule"].parsed(_cron, None) if "schedule" in fields else None,
        exclude=_periods(data.get("exclude")),
        retries=RETRIES if retries is None else retries,
        max_refusals=refusals or MAX_REFUSALS,
    )


def _memory(node: Node | None) -> int:
    size = MEMORY_LIMIT if node is None else node.parsed(parse_size, MEMORY_LIMIT)
    if node is not None and size < LEAST_MEMORY:
        node.mistake(f"the trainer itself takes nearly as much; give at least {show_size(LEAST_MEMORY)}")
    return size


def _words(node: Node) -> tuple[str, ...]:
    """A command line, one word an item."""
    words = tuple(word for item in node.items() if (word := item.text()) is not None)
    if not words or not words[0]:
        node.mistake("a command is a list of words, the first a program: [./train.sh, --fast]")
    if any("\0" in word for word in words):
        node.mistake("no word of a command can hold a NUL")
    return words


def _periods(node: Node | None) -> tuple[tuple[int, int], ...]:
    """`[[2013-03-08, 2013-03-10]]`: from the beginning of the first day to that of the second, in UTC."""
    found = []
    for each in node.items() if node else []:
        ends = [item.parsed(_instant, None) for item in each.items()]
        if len(ends) != 2:
            each.mistake("a period is `[from, to]`, two dates or instants")
        elif ends[0] is not None and ends[1] is not None:
            if ends[0] >= ends[1]:
                each.mistake("the period is empty")
            found.append((ends[0], ends[1]))
    return tuple(found)


def _instant(text: str) -> int | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no date; write for example `2013-03-08` or `2013-03-08T12:00:00Z`") from error
    return to_millis(time if time.tzinfo else time.replace(tzinfo=UTC))


def _function(text: str) -> str:
    module, _, function = text.partition(":")
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"{text!r} names no function; write `package.module:function`")
    return text


def _cron(text: str) -> str:
    try:
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except StopIteration as error:
        raise ValueError(f"{text!r} never comes; write for example `0 4 1,15 * *`") from error
    except CronSimError as error:
        if _only_its_day_is_in_no_month(text):
            raise ValueError(f"{text!r} never comes: no month that it names has such a day") from error
        raise ValueError(f"{text!r} is no cron schedule ({error}); write for example `0 4 1,15 * *`") from error
    return text


def _only_its_day_is_in_no_month(text: str) -> bool:
    fields = text.split()
    if len(fields) != 5:
        return False
    minute, hour, day, month, weekday = fields
    try:
        for part in (f"{minute} {hour} {day} * {weekday}", f"0 0 1 {month} *"):
            CronSim(part, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True
