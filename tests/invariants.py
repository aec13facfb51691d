"""What must hold in a partition after every call: I7, I11 and the seats, read from its whole keyspace."""

import re
from collections import Counter
from collections.abc import Iterator

from gojob_redis.domain import policies
from gojob_redis.domain.states import Place, State
from gojob_redis.domain.tally import Sum, Tallied
from gojob_redis.engine.sums import unpack_sum
from tests.tools.keyspace import Keyspace

TERMINAL = {"run_to_completion", "faulted", "canceled"}
BOUND = {"waiting_to_run", "running"}


KNOWN: dict[str, set[str]] = {
    "state": {*State},
    "place": {*Place},
    **{policy.field: {*policy.words} for policy in policies.set_by("task") if policy.kind == "word"},
}
"""The words of a task's record that this release knows, by field."""


def violations(dump: Keyspace) -> list[str]:
    """Every broken rule as one sentence; empty when all is well."""
    return [
        *_places(dump),
        *_members(dump),
        *_seats(dump),
        *_wakeups(dump),
        *_heads(dump),
        *_cards(dump),
        *_logs(dump),
        *_children(dump),
    ]


def miscounts(dump: Keyspace) -> list[str]:
    """Where the sums are not what the keyspace says, by handler; nothing is said where entries were lost and told.

    A record that was spoiled by hand may have ended twice.
    """
    if int(dump.get("meta", {}).get("stats_gap", 0)):
        return []
    sums, tasks, ended, running = _sums(dump), _tasks(dump), _ended(dump), _running(dump)
    sentences = [*_slots(dump, sums)]
    for handler in sorted({*sums, *tasks, *ended, *running} - {"?", "?/?/?"}):
        own = sums.get(handler, Sum())
        retired = own.total("retired")
        made = own.total("submitted") + own.total("fired") - retired
        over = sum(own.total(state) for state in ("completed", "faulted", "canceled")) - retired
        begun = own.total("started") - own.total("stopped")
        if begun != running[handler]:
            sentences.append(f"K16: of {handler} {begun} attempts are counted as running; there are {running[handler]}")
        if (made, over) != (tasks[handler], ended[handler]):
            sentences.append(
                f"K16: of {handler} {made} tasks and {over} ends are counted; "
                f"there are {tasks[handler]} and {ended[handler]}"
            )
    return sentences


def _slots(dump: Keyspace, sums: dict[str, Sum]) -> Iterator[str]:
    """What is counted of slots is what the ledgers say, where they forgot nothing and lost nothing."""
    triggers = (value for name, value in dump.items() if name.startswith("trigger:") and isinstance(value, dict))
    if any("trimmed" in facts for facts in triggers):
        return
    told: Counter[str] = Counter()
    for name, entries in dump.items():
        for entry in entries if name.startswith("ledger:") else ():
            match entry.split(" "):
                case [*_, "hole"]:
                    return  # what had happened may have been counted, too
                case ["skipped", _, reason]:
                    told[f"skipped {reason}"] += 1
                case ["coalesced", _, _, count, _]:
                    told["missed"] += int(count)
                case ["fired", *_]:
                    told["fired"] += 1
    counted: Counter[str] = Counter()
    for own in sums.values():
        counted.update({name: count for name, count in own.counts.items() if name.partition(" ")[0] in _OF_SLOTS})
    if counted != told:
        yield f"K16: of slots {dict(counted)} are counted, and the ledgers tell {dict(told)}"


_OF_SLOTS = ("fired", "skipped", "missed")


def _sums(dump: Keyspace) -> dict[str, Sum]:
    """What was added up in all, and what waits for it, by handler."""
    tallied = Tallied()
    for entry in dump.get("tally", ()):
        tallied.take(_raw(entry["t"]))
    sums = {
        name.removeprefix("totals:"): unpack_sum(_raw(value))
        for name, value in dump.items()
        if name.startswith("totals:") and name.count("/") == 2
    }
    for (_minute, handler), own in tallied.minutes.items():
        sums.setdefault(handler, Sum()).add(own)
    return sums


def _raw(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _tasks(dump: Keyspace) -> Counter[str]:
    """How many tasks there are, by handler."""
    ended, lanes = _handlers_of_ended(dump), _handlers_of_lanes(dump)
    records = ((run, fields) for run, fields in _records(dump) if "." not in run)
    return Counter(ended.get(run) or lanes.get(fields.get("lane", ""), "?") for run, fields in records)


def _running(dump: Keyspace) -> Counter[str]:
    """How many attempts run, by handler."""
    lanes = {name.removeprefix("lane:"): value["handler"] for name, value in dump.items() if name.startswith("lane:")}
    return Counter(
        lanes.get(fields.get("lane", ""), "?")
        for _run, fields in _records(dump)
        if fields["state"] == "running" and "shards" not in fields
    )


def _ended(dump: Keyspace) -> Counter[str]:
    return Counter(_handlers_of_ended(dump).values())


def _handlers_of_ended(dump: Keyspace) -> dict[str, str]:
    kinds = ("history:", "pinned:")
    indexes = ((name.partition(":"), value) for name, value in dump.items() if name.startswith(kinds))
    ended = {task: name[2] for name, value in indexes for task in value}
    lanes = _handlers_of_lanes(dump)
    failed = (task for name, value in dump.items() if name.startswith("failed:") for task in value)
    for task in failed:
        fields = dump.get(f"task:{task}")
        ended[task] = lanes.get(fields.get("lane", "") if isinstance(fields, dict) else "", "?")
    return ended


def _handlers_of_lanes(dump: Keyspace) -> dict[str, str]:
    return {name.removeprefix("lane:"): value["handler"] for name, value in dump.items() if name.startswith("lane:")}


def _records(dump: Keyspace) -> Iterator[tuple[str, dict[str, str]]]:
    """Those that this release works on."""
    for name, value in dump.items():
        if name.startswith("task:") and isinstance(value, dict) and not is_later(value):
            yield name.removeprefix("task:"), value


def is_later(fields: dict[str, str]) -> bool:
    """Whether a task's record has a word of a later release; then it stands wherever that release put it."""
    words = ((fields[name], known) for name, known in KNOWN.items() if name in fields)
    return any(word not in known and re.fullmatch("[a-z][a-z_]*", str(word)) for word, known in words)


def _later(dump: Keyspace) -> set[str]:
    tasks = ((name.removeprefix("task:"), value) for name, value in dump.items() if name.startswith("task:"))
    return {run for run, value in tasks if isinstance(value, dict) and is_later(value)}


def _indexes(dump: Keyspace) -> dict[str, set[str]]:
    """The places in which runs really stand."""
    places: dict[str, set[str]] = {}
    for name, value in dump.items():
        place = {"activeq": "lane", "due": "due"}.get(name.partition(":")[0])
        for run in value if place else ():
            places.setdefault(run, set()).add(place or "")
    return places


def _places(dump: Keyspace) -> Iterator[str]:
    """I7: a run stands in exactly the index that its ``place`` names."""
    timers = {run for name, value in dump.items() if name.startswith("deadlineq:") for run in value}
    indexes = _indexes(dump)
    for run, fields in _records(dump):
        state, place = fields["state"], fields.get("place", "")
        places = indexes.get(run, set())
        expected = {place} & {"lane", "due"}
        if places != expected:
            yield f"I7: {run} has place {place} and stands in {places or 'no index'}"
        if state in TERMINAL and place != "none":
            yield f"I7: {run} is {state} with place {place}"
        if place == "timer" and run not in timers:
            yield f"I7: {run} waits for a timer that is not set"
        if state == "waiting_to_run" and "shards" not in fields and run not in timers:
            yield f"I7: {run} is bound and nothing watches its accept limit"
        if state in BOUND and "shards" not in fields:
            seat = f"{run}@{fields['attempt']}"
            if place != "session" or seat not in dump.get(f"held:{fields['session']}", ()):
                yield f"I7: {run} is {state} and holds no seat of {fields.get('session')}"


def _members(dump: Keyspace) -> Iterator[str]:
    """I7, the other way: every member of an index has a record that says so."""
    records, later = dict(_records(dump)), _later(dump)
    for name, value in dump.items():
        if name.startswith("activeq:"):
            for run in set(value) - later:
                if records.get(run, {}).get("place") != "lane":
                    yield f"I7: {run} stands in {name} and its record says {records.get(run, {}).get('place')}"


def _seats(dump: Keyspace) -> Iterator[str]:
    """No session has more seats taken than it offers, unless the worker itself claimed them."""
    for name, seats in dump.items():
        if name.startswith("held:") and f"session:{name.removeprefix('held:')}" not in dump:
            yield f"I8: {name} belongs to no session ({seats})"


def _wakeups(dump: Keyspace) -> Iterator[str]:
    """I11: no group has both a waiting session and a ready lane."""
    for name, lanes in dump.items():
        if name.startswith("ready:") and lanes:
            waiting = dump.get("waiting:" + name.removeprefix("ready:"), {})
            if waiting:
                yield f"I11: {name} has {sorted(lanes)} ready and {sorted(waiting)} waiting"


def _heads(dump: Keyspace) -> Iterator[str]:
    """A lane with work, not blocked and served, is in the ready index of each group that serves it, at its head."""
    later = _later(dump)
    for name, facts in dump.items():
        if not name.startswith("lane:"):
            continue
        lane = name.removeprefix("lane:")
        queue = dump.get(f"activeq:{lane}", {})
        served = {run: score for run, score in queue.items() if run not in later}
        for group in dump.get(f"groups_of:{facts['handler']}|{facts['labels']}", ()):
            shown = dump.get(f"ready:{group}|{facts['attribute']}", {}).get(lane)
            heads = [min(runs.values()) if runs and "blocked" not in facts else None for runs in (queue, served)]
            if shown not in heads:
                yield f"I11: lane {lane} has head {heads[0]}, group {group} sees {shown}"


SUMS = [
    *("chunks", "lines", "kept", "bytes", "head", "first", "oldest"),
    *("by_ring", "by_budget", "by_gateway", "by_worker"),
]


def _logs(dump: Keyspace) -> Iterator[str]:
    """I8: what is counted of each log is there, and its app counts it."""
    bytes_of_app: dict[str, int] = {}
    for name, fields in dump.items():
        if not name.startswith("log:"):
            continue
        run, app = name.removeprefix("log:"), fields["app"]
        sums = dict(zip(SUMS, map(int, fields["sums"].split()), strict=True))
        bytes_of_app[app] = bytes_of_app.get(app, 0) + sums["bytes"]
        chunks = {field: text for field, text in fields.items() if field.isdigit()}
        there = {*range(sums["first"], sums["head"]), *range(sums["oldest"], sums["chunks"])}
        numbers = [re.match(r"(?:b['\"])?[0-9]+ ([0-9]+) ", str(chunk)) for chunk in chunks.values()]
        if None in numbers:
            continue  # somebody wrote into a chunk, and nothing looks into it
        lines = sum(int(number[1]) for number in numbers if number)
        if f"task:{run}" not in dump:
            yield f"I8: {name} belongs to no task"
        if {str(number) for number in there} != set(chunks) or lines != sums["kept"]:
            yield f"I8: {name} has chunks {sorted(chunks)} of {lines} lines and counts {sums}"
        if sums["kept"] + sums["by_ring"] + sums["by_budget"] != sums["lines"]:
            yield f"I8: {name} has lost lines that nobody counted: {sums}"
        if (run in dump.get(f"logs:{app}", ())) != bool(chunks):
            yield f"I8: {name} has {len(chunks)} chunks, and logs:{app} is {dump.get(f'logs:{app}')}"
    counted = {app: int(count) for app, count in dump.get("log_bytes", {}).items()}
    if counted != {app: count for app, count in bytes_of_app.items() if count}:
        yield f"I8: the logs take {bytes_of_app} and {counted} is counted"


def _children(dump: Keyspace) -> Iterator[str]:
    """A task stands among the children of the one that it names, as long as both are there."""
    records, later = dict(_records(dump)), _later(dump)
    for run, fields in records.items():
        parent = fields.get("parent")
        if parent in records and run not in dump.get(f"children:{parent}", ()):
            yield f"I7: {run} is no child of {parent}, which it names"
    for name, tasks in dump.items():
        if name.startswith("children:"):
            for task in set(tasks) - later:
                if records.get(task, {}).get("parent") != name.removeprefix("children:"):
                    yield f"I8: {task} stands in {name} and its record says {records.get(task, {}).get('parent')}"


def _cards(dump: Keyspace) -> Iterator[str]:
    """What a list finds a trigger by is what its record says."""
    for name, fields in dump.items():
        if name.startswith("trigger:") and isinstance(fields, dict) and {"app", "name", "handler"} <= fields.keys():
            uid = name.removeprefix("trigger:")
            parts = [fields.get(part, "") for part in ("state", "handler", "owner", "rule")]
            if not all(isinstance(part, str) for part in parts):
                continue  # no text: somebody spoiled it by hand
            expected = "\x1f".join([uid, parts[0], parts[1].rpartition("/")[2], *parts[2:]])
            card = dump.get(f"triggers:{fields['app']}", {}).get(fields["name"], "")
            if card.startswith(uid) and not f"{card}\x1f".startswith(f"{expected}\x1f"):  # a later release may say more
                yield f"the card of trigger {uid} says {card!r}, its record {expected!r}"
