"""When a schedule is due: minute, hour, day, month, day of the week, in UTC; or a word such as @hourly."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from functools import lru_cache

WORDS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_MONTHS = {
    name: n
    for n, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {name: n for n, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS: list[tuple[str, int, int, dict[str, int]]] = [
    ("minute", 0, 59, {}), ("hour", 0, 23, {}), ("day", 1, 31, {}), ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
]  # fmt: skip
YEARS = 9
"""To look ahead: between two 29ths of February there may be eight years."""


class BadSchedule(ValueError):
    """No schedule; the message says what is wrong, for the middle of a sentence."""


def next_time(schedule: str, after: float) -> float:
    """The first moment after `after` (both in seconds since 1970) at which `schedule` is due. BadSchedule."""
    minutes, hours, days, months, weekdays, either = _parsed(schedule)
    start = datetime.fromtimestamp(after, UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    for year in range(start.year, start.year + YEARS):
        for month in sorted(months):
            for day in range(1, monthrange(year, month)[1] + 1):
                if datetime(year, month, day, 23, 59, tzinfo=UTC) < start:
                    continue
                fits = (day in days, (datetime(year, month, day, tzinfo=UTC).weekday() + 1) % 7 in weekdays)
                if not (any(fits) if either else all(fits)):
                    continue
                for hour in sorted(hours):
                    for minute in sorted(minutes):
                        found = datetime(year, month, day, hour, minute, tzinfo=UTC)
                        if found >= start:
                            return found.timestamp()
    raise BadSchedule("it is never due")


@lru_cache(256)
def _parsed(schedule: str) -> tuple[set[int], set[int], set[int], set[int], set[int], bool]:
    """The five sets, and whether one of the two kinds of day is enough (as cron does when both are restricted)."""
    texts = WORDS.get(schedule.strip().lower(), schedule).lower().split()
    if len(texts) != len(_FIELDS):
        raise BadSchedule(f"it has {len(texts)} fields, not {len(_FIELDS)}, and is none of {', '.join(WORDS)}")
    minutes, hours, days, months, weekdays = (
        _field(text, *about) for text, about in zip(texts, _FIELDS, strict=True)
    )  # fmt: skip
    return minutes, hours, days, months, {day % 7 for day in weekdays}, texts[2][0] != "*" != texts[4][0]


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            start = low if span == "*" else _number(first, names)
            alone = high if span == "*" or step else start
            end = _number(last, names) if dash else alone
            every = _number(step, {}) if "/" in part else 1
        except ValueError:
            raise BadSchedule(f"{part!r} is no {name}") from None
        if not low <= start <= end <= high or every < 1:
            raise BadSchedule(f"{part!r} is no {name}: it goes from {low} to {high}")
        found.update(range(start, end + 1, every))
    return found


def _number(text: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
