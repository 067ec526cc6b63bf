"""What happened in a run, one line a fact: the history, and the same sentences as progress in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from flowctl.clock import parse_timestamp
from flowctl.render.layout import Json, Line, Span, View, line
from flowctl.render.signals import received
from flowctl.render.signs import sign
from flowctl.render.text import duration, escape, inline, paragraphs, width

_PATH_COLUMNS = 24


def history(lines: Iterable[Json]) -> View:
    """Lines of ``history --jsonl``, each shown as soon as it is there. Days have a line of their own."""
    day = ""
    for fact in lines:
        if fact["at"][:10] != day:
            day = fact["at"][:10]
            yield line(Span(f"{day} UTC", "dim"))
        yield _history_line(fact)


def _history_line(fact: Json) -> Line:
    return line(Span(f"{fact['at'][11:23]}  ", "dim"), *event(fact))


def event(fact: Json) -> Line:
    """What happened, and where: symbol, path, attempt and sentence, in columns of their own."""
    status, text = sentence(fact)
    path = escape(fact["path"])
    attempt = f" #{fact['attempt']}" if fact["attempt"] > 1 else ""
    padding = " " * max(1, _PATH_COLUMNS - width(path + attempt))
    return line(sign(status), " ", Span(path, "name"), Span(attempt, "dim"), padding, text)


def sentence(fact: Json) -> tuple[str, str]:
    """The state whose symbol suits a fact, and what happened in words."""
    tell = _SENTENCES.get(fact["kind"])
    if tell is None:
        data = {key: value for key, value in fact.items() if key not in _COMMON}
        return "pending", f"{escape(fact['kind'])} {inline(data) if data else ''}".rstrip()
    return tell(fact)


_COMMON = frozenset({"seq", "at", "path", "kind", "attempt", "generation", "run", "status", "verb", "secret"})


def _created(fact: Json) -> tuple[str, str]:
    return "created", f"{escape(fact['workflow'])} v{fact['version']} accepted  {inline(fact['input'])}"


def _started(fact: Json) -> tuple[str, str]:
    verb = fact.get("verb")
    until = f" until {_instant(fact['until'], fact['at'])}" if fact.get("until") else ""
    if verb == "sleep":
        return "waiting", f"sleeps{until}"
    if verb == "wait_for_signal":
        return "waiting", f"waits for {' or '.join(map(escape, fact['names']))}{until}"
    if "name" in fact:
        return (
            "running",
            f"{escape(fact['name'])} {inline(fact['input']) if fact.get('input') else ''}".rstrip(),
        )
    if not fact["path"]:
        return "running", "the run begins"
    return "running", f"attempt {fact['attempt']} begins" if fact["attempt"] > 1 else "begins"


def _completed(fact: Json) -> tuple[str, str]:
    signal = received(fact.get("output")) if "message" in fact else None
    if signal is not None:
        return "completed", f"received {signal}"
    output = f"  {inline(fact['output'])}" if fact.get("output") is not None else ""
    if fact["path"].endswith(".undo"):
        return "compensated", f"undone{output}"
    return "completed", f"{'served' if fact.get('served') else 'completed'}{output}"


def _migrated(fact: Json) -> tuple[str, str]:
    return "pending", f"goes on with {_version(fact['to'])}, after {_version(fact['from'])}"


def _version(document: Json) -> str:
    return f"{escape(document['workflow'])} v{document['version']}"


def _failed(fact: Json) -> tuple[str, str]:
    error = fact["error"]
    text = f"{escape(error['type'])}: {paragraphs(error['message'])[0]}"
    if fact.get("retry_at"):
        wait = duration(parse_timestamp(fact["retry_at"]) - parse_timestamp(fact["at"]))
        return "retrying", f"attempt {fact['attempt']} failed, again in {wait}: {text}"
    return "failed", f"failed: {text}"


def _condition(fact: Json) -> tuple[str, str]:
    if fact["path"].endswith("]"):  # of a loop
        return "pending", f"the loop's condition is {str(fact['value']).lower()}"
    return ("pending", "its condition is true") if fact["value"] else ("skipped", "skipped")


def _case(fact: Json) -> tuple[str, str]:
    return "running", f"takes {escape(fact['case'])}" if fact["case"] else "no case is true"


def _ended(fact: Json) -> tuple[str, str]:
    status = fact["status"]
    text = f"the run ended: {status.replace('_', ' ')}"
    if fact["error"]:
        text += f"  {escape(fact['error']['type'])}: {paragraphs(fact['error']['message'])[0]}"
    return status, text


def _compensating(fact: Json) -> tuple[str, str]:
    error = fact["error"]
    return (
        "compensating",
        f"compensating, because of {escape(error['type'])}: {paragraphs(error['message'])[0]}",
    )


def _cancel_requested(fact: Json) -> tuple[str, str]:
    who = f" by {escape(fact['principal'])}" if fact.get("principal") else ""
    return "cancelled", f"cancellation requested{who}: {escape(fact['reason'])}"


def _by(status: str, text: str) -> Callable[[Json], tuple[str, str]]:
    def tell(fact: Json) -> tuple[str, str]:
        return status, f"{text} by {escape(fact['principal'])}" if fact.get("principal") else text

    return tell


def _reopened(fact: Json) -> tuple[str, str]:
    skipped = ", ".join(map(escape, fact.get("skip", ())))
    status, text = _by("retrying", "retried")(fact)
    return status, f"{text}; seen to by a person: {skipped}" if skipped else text


def _plainly(status: str, text: str) -> Callable[[Json], tuple[str, str]]:
    return lambda fact: (status, text)


_SENTENCES: Mapping[str, Callable[[Json], tuple[str, str]]] = {
    "created": _created,
    "started": _started,
    "completed": _completed,
    "failed": _failed,
    "condition": _condition,
    "case": _case,
    "ended": _ended,
    "compensating": _compensating,
    "cancel_requested": _cancel_requested,
    "cancelled": _plainly("cancelled", "cancelled"),
    "timed_out": _plainly("failed", "the time is up"),
    "migrated": _migrated,
    "held": _plainly("paused", "held until somebody decides"),
    "paused": _by("paused", "paused"),
    "unpaused": _by("running", "unpaused"),
    "reopened": _reopened,
    "withheld": _plainly("cancelled", "did not begin, because the run was paused"),
    "rolled_back": lambda fact: ("failed", f"{', '.join(map(escape, fact['failed']))} could not be undone"),
    "not_undone": _plainly("cancelled", "not undone: it cannot be, or not all of it"),
    "undo_skipped": _plainly("skipped", "not undone here: a person has seen to it"),
    "recovered": _plainly("running", "taken over after its worker was lost"),
    "lost": lambda fact: ("retrying", f"its worker was lost ({fact['count']}), the same attempt runs again"),
    "output": lambda fact: ("completed", f"output  {inline(fact.get('output'))}"),
    "deadline": lambda fact: ("pending", f"has until {_instant(fact['until'], fact['at'])}"),
    "first_failed": lambda fact: ("failed", f"branch {fact['index'] + 1} failed first"),
    "winner": lambda fact: ("completed", f"branch {fact['index'] + 1} won"),
}
"""How each kind of fact is told; another kind by its name and its data."""


def _instant(until: str, at: str) -> str:
    """A moment of the near future: its day only where it is another one."""
    left = duration(parse_timestamp(until) - parse_timestamp(at))
    text = until[11:19] if until[:10] == at[:10] else f"{until[:10]} {until[11:19]}"
    return f"{text} ({left})"
