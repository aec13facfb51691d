"""The command line on a real system: what it changes, waits for, prints, and how it ends."""

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gojob_redis.cli import main
from gojob_redis.cli.tasks import EXIT_NOT_DONE, EXIT_TIMEOUT
from gojob_sdk import Context, FinalError, Worker
from gojob_sdk.testing import Embedded, embedded

pytestmark = pytest.mark.real

STEERING = "\x1b]0;title\x07\x9b31m\r"


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        return json.loads(self.out)


Gojob = Callable[..., Done]


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    with embedded() as running, _worker(running):
        yield running


class _worker:  # noqa: N801  a context manager
    """A worker of the app ``shop`` in a thread."""

    def __init__(self, server: Embedded) -> None:
        self.worker = Worker(app="shop", url=server.url, token=server.worker_token, concurrency=5)
        self.worker.add("send", send)
        self.worker.add("fail", fail)
        self.connected = threading.Event()
        self.worker.on("connected", lambda _event: self.connected.set())

    def __enter__(self) -> None:
        self.worker.start()
        assert self.connected.wait(20)

    def __exit__(self, *_: object) -> None:
        self.worker.stop(0)
        self.worker.wait(20)


def send(ctx: Context, to: str = "you") -> str:
    ctx.log.info(f"to {to}{STEERING}\nsecond line")
    return f"sent to {to}"


def fail(ctx: Context) -> None:
    raise FinalError(f"no{STEERING}")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gojob:
    """Runs one command as the entry point does."""
    for name in [name for name in os.environ if name.startswith("GOJOB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(main, "log_to_stderr", lambda *_, **__: None)  # it is for the rest of a process

    def run(*arguments: str, given: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["gojob", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        code = 0
        try:
            main.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return run


@pytest.fixture
def gojob(alone: Gojob, server: Embedded, monkeypatch: pytest.MonkeyPatch) -> Gojob:
    """The same, told where the system is."""
    monkeypatch.setenv("GOJOB_URL", server.url)
    monkeypatch.setenv("GOJOB_TOKEN", server.admin_token)
    monkeypatch.setenv("GOJOB_APP", "shop")
    return alone


# ---- triggers --------------------------------------------------------------------------------------------------------

DEFINED = (
    *("--handler", "send", "--cron", "30 8 * * *", "--zone", "Asia/Shanghai", "-p", '{"to": "me"}', "-l", "env=gray"),
    *("--require", "host=db7", "--priority", "7", "--retries", "3", "--retry-interval", "10s", "--run-limit", "5m"),
    *("--queue-limit", "1h", "--on-lost", "fault", "--overlap", "allow", "--misfire-after", "2m", "--shards", "2"),
    *("--description", "every morning", "--start-at", "2026-01-01T00:00:00Z", "--end-at", "2090-01-01T00:00:00Z"),
)
TOLD = {
    "handler": "send",
    "params": {"to": "me"},
    "labels": {"env": "gray"},
    "require": "host=db7",
    "priority": 7,
    "retries": 3,
    "retry_interval_ms": 10_000,
    "run_limit_ms": 300_000,
    "queue_limit_ms": 3_600_000,
    "on_lost": "fault",
    "overlap": "allow",
    "misfire_after_ms": 120_000,
    "shards": 2,
    "description": "every morning",
    "enabled": True,
}
CHANGES = ("state", "revision", "changed_ms", "next_times")


def kept(answer: dict[str, Any], *but: str) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in (*CHANGES, *but)}


def test_every_field_of_a_trigger_has_an_option(gojob: Gojob) -> None:
    made = gojob("triggers", "set", "all", *DEFINED, "--json").answer

    assert {name: made[name] for name in TOLD} == TOLD
    assert {name: made["schedule"][name] for name in ("spec", "time_zone")} == {
        "spec": "30 8 * * *",
        "time_zone": "Asia/Shanghai",
    }
    assert made["schedule"].keys() >= {"start_at", "end_at"}


@pytest.mark.parametrize(
    ("said", "name", "value"),
    [
        (("--priority", "2"), "priority", 2),
        (("--retries", "0"), "retries", 0),
        (("-p", "null"), "params", None),
        (("-l", "zone=a"), "labels", {"env": "gray", "zone": "a"}),
        (("-l", "env="), "labels", {}),
        (("--require", ""), "require", ""),
        (("--disabled",), "enabled", False),
        (("--on-lost", "retry"), "on_lost", "retry"),
    ],
)
def test_setting_one_thing_of_a_trigger_leaves_the_others(
    gojob: Gojob, said: tuple[str, ...], name: str, value: object
) -> None:
    before = gojob("triggers", "set", "one", *DEFINED, "--replace", "--json").answer

    after = gojob("triggers", "set", "one", *said, "--json").answer

    assert after[name] == value
    also = ("state",) if name == "enabled" else ()
    assert kept(after, name, *also) == kept(before, name, *also)
    assert after["revision"] == before["revision"] + 1


def test_a_dry_run_tells_what_would_change_and_changes_nothing(gojob: Gojob) -> None:
    before = gojob("triggers", "set", "dry", *DEFINED, "--replace", "--json").answer

    told = gojob("triggers", "set", "dry", "--retries", "7", "--cron", "5 5 * * *", "--dry-run")
    wrong = gojob("triggers", "set", "dry", "--cron", "61 * * * *", "--zone", "Nowhere", "--dry-run")

    assert (told.code, "/retries" in told.out, "fires" in told.out) == (0, True, True)
    assert wrong.code == 2
    assert "/schedule/spec: " in wrong.err
    assert "/schedule/time_zone: " in wrong.err
    assert gojob("triggers", "set", "dry", "--retries", "7", "--dry-run", "--json").answer["revision"] == 1
    assert gojob("triggers", "show", "dry", "--json").answer["revision"] == before["revision"]


def test_triggers_are_listed_by_what_they_are(gojob: Gojob) -> None:
    gojob("triggers", "set", "listed-1", *DEFINED, "--owner", "ann")
    gojob("triggers", "set", "listed-2", "-H", "send", "--every", "5m", "--disabled")

    def names(*options: str) -> list[str]:
        return [each["name"] for each in gojob("triggers", "list", *options, "--json").answer["items"]]

    assert names("--prefix", "listed") == ["listed-1", "listed-2"]
    assert names("--prefix", "listed", "--state", "disabled", "--never-fired") == ["listed-2"]
    assert names("--owner", "ann", "--text", "LISTED", "-H", "send") == ["listed-1"]
    assert names("--prefix", "listed", "--has-fired") == []
    gojob("triggers", "rm", "listed-2")
    assert "listed-2" in gojob("triggers", "removed").out


def test_a_new_spec_keeps_the_zone_and_a_new_zone_the_spec(gojob: Gojob) -> None:
    gojob("triggers", "set", "when", *DEFINED)

    after = gojob("triggers", "set", "when", "--cron", "0 9 * * *", "--json").answer["schedule"]
    assert (after["spec"], after["time_zone"]) == ("0 9 * * *", "Asia/Shanghai")
    after = gojob("triggers", "set", "when", "--zone", "UTC", "--json").answer["schedule"]
    assert (after["spec"], after["time_zone"]) == ("0 9 * * *", "UTC")


def test_replace_sets_what_is_not_said_to_its_default(gojob: Gojob) -> None:
    gojob("triggers", "set", "whole", *DEFINED)

    after = gojob("triggers", "set", "whole", "--replace", "-H", "send", "--every", "5m", "--json").answer

    assert (after["priority"], after["labels"], after["params"], after["description"]) == (5, {}, None, "")


def test_what_show_prints_can_be_set_again_elsewhere_and_with_changes(gojob: Gojob) -> None:
    before = gojob("triggers", "set", "from", *DEFINED, "--json").answer
    shown = gojob("triggers", "show", "from", "--json").out

    again = gojob("triggers", "set", "--file", "-", "--json", given=shown)
    copy = gojob("triggers", "set", "to", "--file", "-", "--priority", "1", "--json", given=shown)

    assert (again.code, again.err) == (0, "")
    assert kept(again.answer) == kept(before)
    assert kept(copy.answer, "name", "uid", "priority") == kept(before, "name", "uid", "priority")
    assert (copy.answer["revision"], copy.answer["priority"]) == (1, 1)


def test_a_large_parameter_is_kept_and_shown_whole(gojob: Gojob) -> None:
    large = json.dumps({"to": [0] * 20_000})
    unchecked = "--allow-unknown"  # the worker takes a text
    gojob("triggers", "set", "large", "-H", "send", "-p", "@-", unchecked, given=large)

    gojob("triggers", "set", "large", "--priority", "1", unchecked)
    shown = gojob("triggers", "show", "large", "--json")
    copy = gojob("triggers", "set", "larger", "--file", "-", unchecked, given=shown.out)
    task = gojob("tasks", "submit", "send", "-p", "@-", unchecked, "--delay", "1h", "--json", given=large).answer["id"]

    assert gojob("tasks", "show", task, "--json").answer["left_out"]
    assert (json.dumps(shown.answer["params"]), copy.code) == (large, 0)
    assert gojob("triggers", "show", "larger", "--json").answer["params"] == json.loads(large)
    assert gojob("tasks", "value", task, "params").answer == json.loads(large)


def test_a_file_that_somebody_wrote_is_checked(gojob: Gojob) -> None:
    written = {"name": "written", "app": "shop", "handler": "send", "schedule": {"kind": "manual"}}

    good = gojob("triggers", "set", "--file", "-", "--json", given=json.dumps(written))
    typo = gojob("triggers", "set", "--file", "-", given=json.dumps({**written, "priorty": 1}))

    assert (good.code, good.answer["name"]) == (0, "written")
    assert (typo.code, "Did you mean priority?" in typo.err) == (main.EXIT_USAGE, True)


def test_nobody_elses_change_is_lost(gojob: Gojob) -> None:
    gojob("triggers", "set", "both", *DEFINED)
    shown = gojob("triggers", "show", "both", "--json").out
    gojob("triggers", "set", "both", "--priority", "1")

    old = gojob("triggers", "set", "both", "--file", "-", given=shown)

    assert old.code == main.EXIT_USAGE
    assert "at revision 2, not at the one this change was made for" in old.err


def test_a_change_that_comes_between_is_kept(gojob: Gojob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another change is made after the trigger was read, and before ours is written."""
    from gojob_redis.cli import triggers

    gojob("triggers", "set", "race", *DEFINED)
    ask = triggers.call  # type: ignore[attr-defined]
    puts: list[Any] = []

    def call(method: str, path: str, body: Any = None, **query: Any) -> Any:
        if method == "PUT" and not puts:
            puts.append(ask("PUT", path, {**body, "priority": 1}))
        return ask(method, path, body, **query)

    monkeypatch.setattr(triggers, "call", call)
    after = gojob("triggers", "set", "race", "--retries", "9", "--json").answer

    assert (after["priority"], after["retries"]) == (1, 9)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("set", "new", "--priority", "1"), "needs a handler"),
        (("set", "new", "-H", "nobody"), "pass --allow-unknown"),
        (("set", "new", "-H", "send", "--cron", "61 * * * *"), "0 to 59"),
        (("set", "new", "-H", "send", "--cron", "* * * * *", "--zone", "Asia/Beijing"), "Asia/Shanghai"),
        (("set", "new", "-H", "send", "--retry-interval", "soon"), "--retry-interval 'soon' is no length of time"),
        (("set", "new", "-H", "send", "-p", "@nofile.json"), "'nofile.json' cannot be read: No such file"),
        (("set", "new", "-H", "send", "-p", "{"), "--params is not JSON"),
        (("set", "new", "--file", "nofile.json"), "'nofile.json' cannot be read"),
        (("set", "new", "--file", "/dev/null"), "Name a file of JSON"),
        (("set", "--priority", "1"), "No trigger is named"),
        (("set", "Bad Name", "-H", "send"), "is not a valid name"),
        (("show", "nothing-like-it"), "gojob triggers set"),
        (("removed", "--app", ""), "--app NAME"),
        (("list", "--app", "nowhere/shop"), "no namespace"),
    ],
)
def test_a_mistake_ends_with_a_sentence_and_what_to_do(gojob: Gojob, command: tuple[str, ...], told: str) -> None:
    done = gojob("triggers", *command)

    assert done.code == main.EXIT_USAGE
    assert told in done.err
    assert done.err.startswith("gojob: ")
    assert not re.search(r"Traceback|/docs|\bPUT\b|allow_unknown", done.err)


# ---- tasks -----------------------------------------------------------------------------------------------------------


def test_every_field_of_a_task_has_an_option(gojob: Gojob) -> None:
    options = (
        *("-p", '{"to": "me"}', "-l", "env=gray", "--require", "host=db7", "--priority", "7", "--retries", "3"),
        *("--retry-interval", "10s", "--run-limit", "5m", "--queue-limit", "1h", "--on-lost", "fault"),
        *(
            "--shard-params",
            "[1, 2, 3]",
            "--delay",
            "1h",
            "--idempotency-key",
            "only-once",
            "--key",
            "order-1",
            "--unique",
        ),
    )
    made = gojob("tasks", "submit", "send", *options, "--json").answer
    again = gojob("tasks", "submit", "send", *options, "--json").answer
    shown = gojob("tasks", "show", made["id"], "--json").answer

    assert again == {"id": made["id"], "state": "created", "duplicate": True}
    expected = {"shards": 3, "retries": 3, "retry_interval_ms": 10_000, "run_limit_ms": 300_000, "on_lost": "fault"}
    expected |= {"params": {"to": "me"}, "labels": {"env": "gray"}, "require": "host=db7"}
    assert {name: shown[name] for name in expected} == expected
    later = gojob("tasks", "submit", "send", "--at", "2090-01-01T00:00:00Z", "--shards", "2", "--json")
    assert later.code == 0


def test_waiting_ends_as_the_task_did(gojob: Gojob) -> None:
    good = gojob("tasks", "submit", "send", "--wait")
    bad = gojob("tasks", "submit", "fail", "--wait", "--json")

    assert (good.code, "sent to you" in good.out) == (0, True)
    assert (bad.code, bad.answer["state"], bad.err) == (EXIT_NOT_DONE, "faulted", "")
    assert gojob("tasks", "wait", bad.answer["id"]).code == EXIT_NOT_DONE


def test_waiting_says_why_the_task_waits_and_ends_when_its_time_is_over(gojob: Gojob) -> None:
    done = gojob("tasks", "submit", "send", "-l", "env=nowhere", "--wait", "--timeout", "100ms")

    assert (done.code, done.out) == (EXIT_TIMEOUT, "")
    assert re.search(r"created: .*worker", done.err)
    assert "it goes on" in done.err
    task = re.search(r"gojob tasks wait (\S+)'", done.err)
    assert task is not None
    shown = gojob("tasks", "wait", task[1], "--timeout", "0", "--json")
    assert (shown.code, shown.answer["state"]) == (EXIT_TIMEOUT, "created")


def test_waiting_goes_on_while_the_gateway_is_away(
    gojob: Gojob, monkeypatch: pytest.MonkeyPatch, server: Embedded
) -> None:
    task = gojob("tasks", "submit", "send", "--json").answer["id"]
    monkeypatch.setenv("GOJOB_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", lambda _s: monkeypatch.setenv("GOJOB_URL", server.url))

    done = gojob("tasks", "wait", task)

    assert done.code == 0
    assert "does not answer" in done.err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("submit", "snd"), "Did you mean send?"),
        (("submit", "send", "--timeout", "5s"), "--timeout belongs to --wait"),
        (("submit", "send", "--shard-params", "[1]", "--shards", "3"), "shard"),
        (("submit", "send", "--at", "tomorrow"), "Write it as 2027-01-31T09:00:00+01:00"),
        (("submit", "send", "--at", "2090-01-01T00:00:00Z", "--delay", "5s"), "both set"),
        (("submit", "send", "-l", "gray"), "env=gray"),
        (("show", "nothing"), "as it was given out"),
        (("show", "../namespaces"), "gojob: "),
        (("list", "--app", "", "--handler", "send"), "--app"),
        (("logs", "0bs0mx0aq92h173ys453", "--since", "yesterday"), "Write 10m, 2h, or a moment"),
        (("logs", "0bs0mx0aq92h173ys453", "-f", "--reverse"), "exclude each other"),
        (("logs", "0bs0mx0aq92h173ys453"), "gojob: "),
    ],
)
def test_a_mistake_about_a_task_ends_with_a_sentence(gojob: Gojob, command: tuple[str, ...], told: str) -> None:
    done = gojob("tasks", *command)

    assert (done.code, done.out) == (main.EXIT_USAGE, "")
    assert told in done.err
    assert "Traceback" not in done.err


def test_what_a_handler_wrote_steers_no_terminal(gojob: Gojob) -> None:
    sent = gojob("tasks", "submit", "send", "-p", json.dumps({"to": STEERING}), "--wait", "--json").answer
    failed = gojob("tasks", "submit", "fail", "--wait", "--json").answer

    shown = [
        gojob(*command)
        for task in (sent["id"], failed["id"])
        for command in (("tasks", "show", task), ("tasks", "logs", task), ("tasks", "runs", task))
    ]

    text = "".join(done.out + done.err for done in shown)
    assert text.count(r"\x1b]0;title\x07\x9b31m\r") >= 4
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


# ---- the rest --------------------------------------------------------------------------------------------------------


def test_many_tasks_are_counted_canceled_and_made_once_more(gojob: Gojob) -> None:
    app = ("--app", "many")
    ids = [
        gojob(
            "tasks", "submit", "later", *app, "--delay", "1h", "-l", f"env={env}", "--allow-unknown", "--json"
        ).answer["id"]
        for env in ("gray", "gray", "blue")
    ]

    counted = gojob("bulk", "start", "cancel", *app, "-l", "env=gray", "--dry-run", "--json").answer
    gray = gojob("bulk", "start", "cancel", *app, "-l", "env=gray", "--wait", "--json")
    rest = gojob("bulk", "start", "cancel", *ids, "--wait", "--timeout", "30s")
    again = gojob(
        "bulk", "start", "retry", *app, "-s", "canceled", "--idempotency-key", "k1", "--wait", "--json"
    ).answer
    gojob("bulk", "start", "cancel", *app, "--wait")

    assert counted == {"matched": 2, "text": "2", "is_exact": True}
    assert (gray.code, gray.answer["done"], gray.answer["state"]) == (0, 2, "done")
    assert (rest.code, "2 skipped, it is over, or was asked to stop" in rest.err) == (0, True)
    assert (again["done"], again["filter"]["state"]) == (3, ["canceled"])
    listed = gojob("bulk", "list", "--json").answer["items"]
    assert {each["verb"] for each in listed} >= {"cancel", "retry"}
    assert gojob("bulk", "show", again["id"], "--json").answer["id"] == again["id"]
    assert gojob("bulk", "wait", again["id"]).code == 0
    for change in ("pause", "resume", "cancel"):
        over = gojob("bulk", change, again["id"])
        assert (over.code, "is done" in over.err) == (2, True)


def test_what_waits_is_moved_to_the_head_and_purged(gojob: Gojob) -> None:
    submit = ("tasks", "submit", "slow", "--app", "purged", "--allow-unknown", "--json")
    _first, second = gojob(*submit).answer["id"], gojob(*submit).answer["id"]

    assert gojob("tasks", "bump", second, "--json").answer == {"id": second, "outcome": "ok"}
    assert gojob("tasks", "bump", second, "--priority", "9", "--json").answer["outcome"] == "ok"
    job = gojob("queues", "purge", "slow", "--app", "purged", "--reason", "wrong", "--json").answer
    assert gojob("bulk", "wait", job["id"], "--json").answer["done"] == 2
    assert gojob("tasks", "show", second, "--json").answer["reason"] == "wrong"


def test_a_job_for_everything_has_to_be_asked_for(gojob: Gojob) -> None:
    refused = gojob("bulk", "start", "cancel")

    assert (refused.code, "--all" in refused.err) == (2, True)
    ambiguous = gojob("bulk", "start", "delete", "--app", "many")
    assert (ambiguous.code, "--kind tasks" in ambiguous.err) == (2, True)
    over = gojob("bulk", "start", "delete", "--kind", "tasks", "--app", "many", "--pinned", "--dry-run", "--json")
    assert (over.code, over.answer["is_exact"]) == (0, True)
    assert gojob("bulk", "start", "cancel", "--all", "--dry-run", "--json").code == 0


def test_every_list_and_look_has_json(gojob: Gojob) -> None:
    for command in (
        ("queues", "list"),
        ("queues", "list", "--app", "shop", "--sort", "oldest", "--waiting"),
        ("queues", "list", "--by", "label"),
        ("queues", "show", "send", "--within", "5m"),
        ("handlers", "show", "send"),
        ("tasks", "list", "--sort", "slowest"),
        ("tasks", "list", "--by", "state", "--by", "error"),
        ("triggers", "list"),
        ("search", "send"),
        ("triggers", "removed"),
        ("workers", "list"),
        ("workers", "list", "--by", "version", "--by", "label:env", "--label", "env=gray"),
        ("events",),
        ("overview",),
        ("overview", "--app", "shop"),
        ("stats",),
        ("stats", "--app", "shop", "--by", "handler"),
        ("stats", "--app", "shop", "--handler", "send", "--step", "1m"),
        ("stats", "--ever"),
        ("stats", "--app", "shop", "--week", "--zone", "Asia/Kolkata"),
        ("failures",),
        ("namespaces", "list"),
        ("token", "list"),
        ("preview", "--every", "90s"),
        ("version",),
    ):
        assert isinstance(gojob(*command, "--json").answer, dict)
        assert gojob(*command).code == 0


def test_what_is_set_for_a_namespace_is_shown_and_what_is_not_named_stays(gojob: Gojob) -> None:
    gojob("namespaces", "set", "lab", "--description", "trials", "--limit", "polls=7", "--limit", "apps=3")
    made = gojob("namespaces", "set", "lab", "--durability", "fast", "--json").answer

    assert (made["description"], made["durability"], made["limits"]["polls"]) == ("trials", "fast", 7)
    assert gojob("namespaces", "show", "lab", "--json").answer == made
    assert "trials" in gojob("namespaces", "list").out
    assert gojob("namespaces", "set", "lab", "--limit", "polls").err.startswith("gojob: 'polls' sets no limit.")


def test_a_namespace_has_defaults_of_policies_until_they_are_taken_away(gojob: Gojob) -> None:
    gojob("namespaces", "set", "calm", "--default", "retries=3", "--default", "run-limit=5m")
    submitted = gojob("tasks", "submit", "send", "--app", "calm/shop", "--allow-unknown", "--json").answer
    policies = gojob("tasks", "show", submitted["id"], "--json").answer
    kept = gojob("namespaces", "set", "calm", "--default", "retries=", "--json").answer

    assert (policies["retries"], policies["run_limit_ms"]) == (3, 300_000)
    assert kept["defaults"] == {"run_limit_ms": 300_000}
    for option, told in (("retries", "sets no policy"), ("pace=3", "sets no policy"), ("retries=101", "100")):
        refused = gojob("namespaces", "set", "calm", "--default", option)
        assert (refused.code, told in refused.err) == (2, True), refused.err
    assert gojob("namespaces", "show", "calm", "--json").answer == kept


def test_a_token_may_end_by_itself(gojob: Gojob) -> None:
    made = gojob("token", "create", "worker", "--expires-in", "90d", "--json").answer

    assert made["expires_ms"] - made["made_ms"] == pytest.approx(90 * 86_400_000, abs=60_000)
    assert gojob("token", "revoke", made["key_id"], "--json").answer == {"key_id": made["key_id"], "revoked": True}


def test_a_wrong_token_ends_with_a_sentence(gojob: Gojob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_TOKEN", "gj_admin_nobody_x")

    done = gojob("triggers", "list")

    assert done.code == main.EXIT_USAGE
    assert "GOJOB_TOKEN" in done.err


def test_a_gateway_out_of_reach_has_an_exit_code_of_its_own(gojob: Gojob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOJOB_URL", "http://127.0.0.1:1")

    assert gojob("triggers", "list").code == main.EXIT_UNAVAILABLE


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_everywhere(gojob: Gojob, flag: str) -> None:
    for command in ((), ("tasks",), ("tasks", "submit"), ("dev",)):
        assert "Usage: " in gojob(*command, flag).out


def test_the_version_is_told(gojob: Gojob) -> None:
    assert gojob("--version").out == gojob("version").out
    assert gojob("version", "--json").answer.keys() == {"version"}


@pytest.mark.parametrize(
    ("arguments", "variables", "told"),
    [
        (("gateway", "--redis", "localhost:6379"), {}, "redis://"),
        (("trigger", "--redis", "redis://localhost:x"), {}, "redis://"),
        (("dev", "--redis", "http://localhost"), {}, "redis://"),
        (("doctor", "--redis", "localhost"), {}, "redis://"),
        (("bootstrap", "--redis", ":secret@localhost:6379"), {}, "redis://"),
        (("token", "create", "admin", "--redis", "localhost:6379"), {}, "redis://"),
        (("gateway",), {"GOJOB_REDIS__URL": "localhost:6379"}, "GOJOB_REDIS__URL"),
        (("gateway", "--port", "0"), {}, "No Redis is named"),
        (("dev", "--redis-mode", "many"), {}, "standalone"),
        (("dev",), {"GOJOB_GATEWAY__PORT": "http"}, "GOJOB_GATEWAY__PORT"),
        (("dev",), {"GOJOB_GATEWAY": "{"}, "GOJOB_GATEWAY"),
        (("dev", "--config", "nofile.toml"), {}, "nofile.toml cannot be read"),
        (("dev", "--config", "."), {}, "cannot be read"),
        (("dev", "--port", "0", "--dir", "/dev/null/x"), {}, "/dev/null/x"),
        (("gateway", "--redis", "redis://127.0.0.1:1", "--host", "nowhere.invalid"), {}, "cannot be listened on"),
        (("engine", "--fsync", "often"), {}, "everysec"),
        (("engine", "--set", "nonsense"), {}, "NAME=VALUE"),
        (("trigger", "--redis", "redis://127.0.0.1:1?db=x"), {}, "Invalid value for 'db'"),
        (("bootstrap", "--redis", "redis://127.0.0.1:1?colour=red"), {}, "'colour'"),
        (("engine", "--dir", "/dev/null/x"), {}, "/dev/null/x"),
    ],
)
def test_a_role_that_is_told_nonsense_says_so(
    alone: Gojob,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    done = alone(*arguments)

    assert done.code == main.EXIT_USAGE, done.err
    assert told in done.err
    assert "Traceback" not in done.err
    assert "secret" not in done.err


def test_a_token_made_in_the_engine_is_all_that_is_printed(server: Embedded) -> None:
    command = (
        sys.executable,
        "-m",
        "gojob_redis.cli",
        "token",
        "create",
        "admin",
        "--redis",
        server.redis_url,
        "--json",
    )
    done = subprocess.run((*command, "--redis", server.redis_url), capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["kind"] == "admin"
    assert done.stderr == ""


def test_an_engine_out_of_reach_has_an_exit_code_of_its_own(alone: Gojob) -> None:
    done = alone("token", "create", "admin", "--redis", "redis://127.0.0.1:1")

    assert (done.code, "Traceback" in done.err) == (main.EXIT_UNAVAILABLE, False)


def test_watching_tasks_tells_their_changes_and_ends_when_all_are_over(gojob: Gojob) -> None:
    ids = [
        gojob("tasks", "submit", handler, "-p", '{"to": "x"}', "--json").answer["id"] for handler in ("send", "fail")
    ]

    done = gojob("tasks", "watch", *ids, "00s00000000000000000", "--json")

    rows = [json.loads(line) for line in done.out.splitlines()]
    ends = {row["id"]: row["state"] for row in rows}
    assert (done.code, ends) == (0, dict(zip(ids, ("run_to_completion", "faulted"), strict=True)))
    assert "There is no task 00s00000000000000000." in done.err
    assert gojob("tasks", "watch").code == main.EXIT_USAGE
    assert gojob("tasks", "watch", "--app", "nobody").code == main.EXIT_USAGE


def test_events_are_followed_until_somebody_ends_it(gojob: Gojob, server: Embedded) -> None:
    env = {**os.environ, "GOJOB_URL": server.url, "GOJOB_TOKEN": server.admin_token, "COVERAGE_PROCESS_START": ""}
    command = [sys.executable, "-m", "gojob_redis.cli", "events", "--follow", "--json", "--app", "shop", "--limit", "1"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        first = gojob("tasks", "submit", "fail", "--wait", "--json").answer["id"]
        try:
            tasks = (json.loads(line)["task"] for line in following.stdout)
            assert first in tasks
            second = gojob("tasks", "submit", "fail", "--wait", "--json").answer["id"]
            assert second in tasks
        finally:
            following.kill()


# ---- what is kept ----------------------------------------------------------------------------------------------------


def test_tasks_are_listed_by_what_is_known_of_them(gojob: Gojob) -> None:
    parent = gojob("tasks", "submit", "fail", "--wait", "--json").answer["id"]
    child = gojob("tasks", "retry", parent, "--json").answer["id"]
    gojob("tasks", "wait", child)

    def listed(*options: str) -> list[str]:
        return [row["id"] for row in gojob("tasks", "list", "--json", *options).answer["items"]]

    assert listed("--parent", parent) == [child]
    assert listed("--state", "faulted", "--reason", "error", "--limit", "1") == [child]
    assert parent in listed("--namespace", "default", "--state", "faulted")
    assert listed("--to", "2020-01-01T00:00:00Z") == []
    assert "Looked at" in gojob("tasks", "list", "--limit", "1", "--state", "faulted").err


def test_the_retention_of_a_handler_is_set_and_taken_away(gojob: Gojob) -> None:
    usual = gojob("handlers", "retention", "send", "--json").answer
    assert (usual["done_ms"], usual["failed_count"]) == (7 * 86_400_000, 20_000)

    changed = gojob("handlers", "retention", "send", "--set", "done=1d", "--set", "done-count=5", "--json").answer
    assert (changed["done_ms"], changed["done_count"]) == (86_400_000, 5)
    assert gojob("handlers", "retention", "send", "--set", "done=", "--json").answer["done_ms"] == usual["done_ms"]
    for option in ("done", "cold=1d", "done-count=many", "failed-count=1"):
        assert gojob("handlers", "retention", "send", "--set", option).code == 2

    lab = gojob("namespaces", "set", "kept", "--retention", "failed=30d", "--retention", "failed-count=9", "--json")
    assert (lab.answer["retention"]["failed_ms"], lab.answer["retention"]["failed_count"]) == (30 * 86_400_000, 9)


def test_a_task_is_kept_and_let_go(gojob: Gojob) -> None:
    task = gojob("tasks", "submit", "send", "--wait", "--json").answer["id"]

    assert gojob("tasks", "keep", task, "--json").answer == {"id": task, "keep": "always"}
    assert gojob("tasks", "show", task, "--json").answer["keep"] == "always"
    assert gojob("tasks", "keep", task, "--usual", "--json").answer["keep"] == "usual"
