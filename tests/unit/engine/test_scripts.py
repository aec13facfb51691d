"""scripts: what a header may say, what the loader makes of it, and how a call ends."""

from pathlib import Path
from typing import Any

import pytest
from lupa.lua51 import LuaRuntime

from gojob_redis.domain.errors import BrokenInvariant
from gojob_redis.engine import keys, scripts
from gojob_redis.engine.headers import BadScript, Column, Form, Header, Param
from gojob_redis.engine.scripts import NoEpoch, ScriptFailed, Verb
from tests.conftest import Partition
from tests.tools.lua_code import global_uses

HEADER = """\
-- Store what each item says.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        nonce      str  =nonce   random part of fences
--                                 begun in this call
--        reply_to   str  =''      who gets hints
-- ITEM   Thing
--        task       str           id
--        param      bin  =''      opaque
--        priority   int  =5
-- REPLY  ok | more ; lost | no_epoch
--        seen       int           so many
--        name       str
-- EACH   word       ok | gone |
--                   late
--        after      int
-- HINTS  reply_to
-- REST   match
-- MOVES  created waiting_to_run ; waiting_to_run created
--        running faulted
-- FLAGS  allow-oom
-- COST   O(items)
"""
BODY = """\
--!include keys
--!include lib/store.lua
local reply = {'ok', ITEM_COUNT, 'me'}
for i = 1, ITEM_COUNT do
  local task, param, priority = item(i)
  store(task, param)
  reply[#reply + 1] = priority > 0 and 'ok' or 'late'
  reply[#reply + 1] = priority
end
if reply_to ~= '' then reply[#reply + 1] = {'hint'} end
return reply
"""
STORE = """\
--!include keys
local function store(task, param) redis.call('HSET', key.task(task), 'param', param) end
"""


GIVEN: dict[str, Any] = {"now_ms": 0, "nonce": "n", "reply_to": ""}


def write(root: Path, text: str, **fragments: str) -> Verb:
    """Load ``text`` as the verb ``try``."""
    (root / "lib").mkdir(exist_ok=True)
    (root / "lib/store.lua").write_text(STORE)
    for name, fragment in fragments.items():
        (root / f"lib/{name}.lua").write_text(fragment)
    (root / "try.lua").write_text(text)
    return scripts.load(root / "try.lua", root)


def short(body: str, header: str = "-- REPLY  ok | no_epoch") -> str:
    return f"-- Try it.\n--\n{header}\n{body}\n"


# ---- headers -------------------------------------------------------------------------------------------------------


def test_a_header_is_read_completely(tmp_path: Path) -> None:
    verb = write(tmp_path, HEADER + BODY)

    assert verb.name == "try"
    assert verb.header == Header(
        summary="Store what each item says.",
        reply=Form(
            words=frozenset({b"ok", b"more"}),
            alone=frozenset({b"lost", b"no_epoch"}),
            values=(Column("seen", "int", {}), Column("name", "str", {})),
            each=(Column("word", "str", {b"ok": "ok", b"gone": "gone", b"late": "late"}), Column("after", "int", {})),
            each_name="TryEach",
            hints="reply_to",
            rest="match",
        ),
        scalars=(Param("now_ms", "int", "clock"), Param("nonce", "str", "nonce"), Param("reply_to", "str", "")),
        item="Thing",
        fields=(Param("task", "str"), Param("param", "bin", ""), Param("priority", "int", "5")),
        moves=(("created", "waiting_to_run"), ("waiting_to_run", "created"), ("running", "faulted")),
        flags=("allow-oom",),
        cost="O(items)",
    )


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("-- REPLY  ok\n-- NOISE  x", "try.lua:4: unknown section NOISE"),
        ("-- REPLY  ok\n-- REPLY  ok", "try.lua:4: repeated section REPLY"),
        ("-- COST   O(1)", "try.lua:1: the header has no REPLY section"),
        ("-- REPLY  Ok!", "try.lua:3: words of a reply must be lower-case words"),
        ("-- REPLY  ok\n--        n float", "try.lua:4: value n has type 'float'"),
        ("-- REPLY  ok\n-- EACH   word", "try.lua:4: value word has type ''"),
        ("-- REPLY  ok\n-- HINTS  reply_to", "try.lua:4: there is no argument reply_to that could ask for hints"),
        ("-- ARGV   n int =many\n-- REPLY  ok", "try.lua:3: argument n is an int, so 'many' cannot be its default"),
        ("-- ARGV   n float\n-- REPLY  ok", "try.lua:3: argument n has type 'float'"),
        ("-- ARGV   n\n-- REPLY  ok", "try.lua:3: argument n has type ''"),
        ("-- ARGV   n int\n--        n str\n-- REPLY  ok", "try.lua:4: argument n is declared twice"),
        ("-- ARGV   end int\n-- REPLY  ok", "try.lua:3: 'end' cannot be the name of an argument"),
        ("-- ARGV   client str\n-- REPLY  ok", "try.lua:3: 'client' cannot be the name of an argument"),
        ("-- ITEM\n-- REPLY  ok", "try.lua:1: the ITEM section is empty"),
        ("-- REPLY  ok\n-- MOVES  task created running", "try.lua:4: a move is two states"),
        ("-- REPLY  ok\n-- FLAGS  allow-oom, fast", "try.lua:4: unknown flag fast"),
        ("-- REPLY  ok\n-- a stray remark", "try.lua:4: neither a section nor a continuation"),
    ],
)
def test_a_wrong_header_is_refused_with_file_and_line(tmp_path: Path, header: str, complaint: str) -> None:
    with pytest.raises(BadScript, match=f"^{complaint.replace('(', '.')}"):
        write(tmp_path, short("return {'ok'}", header))


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadScript, match=r"^try\.lua:1: the file must begin with a comment"):
        write(tmp_path, "return {'ok'}\n")


def test_a_summary_may_speak_of_redis_in_capitals(tmp_path: Path) -> None:
    verb = write(tmp_path, "-- TIME is read once.\n-- OK, then.\n-- REPLY  ok\nreturn {'ok'}\n")

    assert verb.header.summary == "TIME is read once. OK, then."


# ---- bodies --------------------------------------------------------------------------------------------------------


def test_a_fragment_is_included_once_and_before_its_user(tmp_path: Path) -> None:
    source = write(tmp_path, HEADER + BODY.replace("--!include keys\n", "--!include lib/store.lua\n")).source()

    assert source.count("local function store") == 1
    assert source.count("local P = KEYS[1]") == 1
    assert source.index("local P = KEYS[1]") < source.index("local function store") < source.index("local reply =")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("--!include lib/nothing.lua", "try.lua:4: no such file to include"),
        ("--!inline lib/store.lua", "try.lua:4: the only directive is"),
        ("--!include keys\nreturn {key.nobody}", "try.lua:5: key.nobody is not in the catalogue"),
        ("return {key.meta}", "try.lua:4: key names are used without"),
        ("return {limits.LEASE_MS}", "try.lua:4: limits are used without"),
        ("--!include limits\nreturn {limits.NOBODY}", "try.lua:5: limits.NOBODY is not in"),
        ("--!include lib/leak.lua", "lib/leak.lua:2: count would be a global"),
        ("function leak() end", "try.lua:4: leak would be a global"),
        ("local a\na, b = 1, 2", "try.lua:5: b would be a global"),
    ],
)
def test_a_wrong_body_is_refused_with_file_and_line(tmp_path: Path, body: str, complaint: str) -> None:
    with pytest.raises(BadScript, match=f"^{complaint}"):
        write(tmp_path, short(body), leak="local other = 1\ncount = 2\n")


def test_a_shebang_carries_the_flags_to_real_servers_only(tmp_path: Path) -> None:
    flagged = write(tmp_path, HEADER + BODY)
    plain = write(tmp_path, short("return {'ok'}"))

    assert flagged.source("real").startswith("#!lua flags=allow-oom\nlocal now_ms")
    assert flagged.source("fake").startswith("local now_ms")
    assert plain.source("real") == "#!lua\nreturn {'ok'}\n"


def test_a_limit_is_written_in_its_place(tmp_path: Path) -> None:
    body = "--!include limits\nreturn {'ok', -limits.LEASE_MS, now + limits.SHARDS}\n"
    verb = write(tmp_path, short(body))

    assert verb.body == "return {'ok', -15000, now + 10000}\n"


def test_comments_and_empty_lines_stay_here(tmp_path: Path) -> None:
    body = "local a = 1 -- one\n-- Why.\n\n  -- Two.\nreturn {'ok', a}\n"
    verb = write(tmp_path, short(body))

    assert verb.body == "local a = 1\nreturn {'ok', a}\n"
    assert [verb.where(line) for line in (2, 3)] == ["try.lua:4", "try.lua:8"]


def test_every_verb_compiles_and_touches_no_global() -> None:
    for verb in scripts.load_all().values():
        leaks = [f"{verb.where(use.line + 1)} {use.name}" for use in global_uses(verb.source("fake"))]

        assert leaks == []


def test_the_byte_code_check_sees_a_global_that_the_loader_misses() -> None:
    uses = global_uses("local function f()\n  lost = 1\n  return found\nend\nreturn tonumber(f())\n")

    assert [(use.name, use.line, use.writes) for use in uses] == [("lost", 2, True), ("found", 3, False)]


# ---- arguments -----------------------------------------------------------------------------------------------------


def test_arguments_stand_in_the_order_of_the_header(tmp_path: Path) -> None:
    verb = write(tmp_path, HEADER + BODY)

    items = [("a", b"x", 3), ("b", b"", None)]
    assert verb.args(items, nonce="n", now_ms=7, reply_to="g") == [7, "n", "g", 3, "a", b"x", 3, "b", b"", b""]


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([("a", b"", 5), ("b", b"", 5)], [1, "a", "b"]),
        ([("a", b"", 5), ("b", b"x", 5)], [2, "a", b"", "b", b"x"]),
        ([("a", b"", 5), ("b", b"", 6)], [3, "a", b"", 5, "b", b"", 6]),
        ([], [1]),
    ],
)
def test_the_last_columns_are_left_out_when_all_items_are_at_their_default(
    tmp_path: Path, items: Any, told: list[Any]
) -> None:
    verb = write(tmp_path, HEADER + "local all = {}\nfor i = 1, ITEM_COUNT do all[i] = {item(i)} end\nreturn all\n")

    arguments = verb.args(items, nonce="n", now_ms=7, reply_to="")
    lua = LuaRuntime()
    lua.execute("KEYS, ARGV = {'{p}:'}, {...}", *(part if isinstance(part, bytes) else str(part) for part in arguments))

    assert arguments[3:] == told
    assert [tuple(item.values()) for item in lua.execute(verb.source("fake")).values()] == [
        (task, param.decode(), priority) for task, param, priority in items
    ]


def test_what_has_a_default_may_be_left_out(tmp_path: Path) -> None:
    verb = write(tmp_path, HEADER + BODY)

    first, second = verb.standing(7), verb.standing(8)

    assert (first["now_ms"], first["reply_to"]) == (7, "")
    assert (second["now_ms"], second["reply_to"]) == (8, "")
    assert first["nonce"] != second["nonce"]


@pytest.mark.parametrize(
    ("items", "scalars", "complaint"),
    [
        ([], {"now_ms": 0}, "takes"),
        ([], GIVEN | {"extra": 1}, "takes"),
        ([], GIVEN | {"now_ms": "0"}, "now_ms is declared int"),
        ([], GIVEN | {"now_ms": 0.5}, "now_ms is declared int"),
        ([], GIVEN | {"now_ms": True}, "now_ms is declared int"),
        ([("a", b"x")], GIVEN, "items of 3 fields"),
        ([("a", "x", 1)], GIVEN, "param is declared bin"),
        ([("a", b"x", 1), (5, b"x", 1)], GIVEN, "task is declared str"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, items: Any, scalars: Any, complaint: str) -> None:
    verb = write(tmp_path, HEADER + BODY)

    with pytest.raises(TypeError, match=complaint):
        verb.args(items, **scalars)


def test_lua_sees_typed_locals(tmp_path: Path) -> None:
    verb = write(tmp_path, HEADER + "return {now_ms, nonce, ITEM_COUNT, item(1)}\n")
    lua = LuaRuntime()
    lua.execute("KEYS, ARGV = {'{p}:'}, {'12', 'n', '', '3', 'a', 'x', '3', 'b', 'y', ''}")

    first = lua.execute(verb.source("fake"))
    second = lua.execute(verb.source("fake").replace("item(1)}", "item(2)}"))

    assert list(first.values()) == [12, "n", 2, "a", "x", 3]
    assert list(second.values()) == [12, "n", 2, "b", "y", 5]


# ---- calls ---------------------------------------------------------------------------------------------------------


async def test_a_call_writes_and_answers(script_engine: Partition, tmp_path: Path) -> None:
    verb = write(tmp_path, HEADER + BODY)

    reply = await verb.call(
        script_engine.client, script_engine.prefix, [("a", b"\xff", 3), ("b", b"y", 0)], **GIVEN | {"reply_to": "g"}
    )

    assert reply == [b"ok", 2, b"me", b"ok", 3, b"late", 0, [b"hint"]]
    dumped = await script_engine.dump()
    assert {name: dumped[name] for name in dumped if name != "meta"} == {
        "task:a": {"param": b"\xff"},
        "task:b": {"param": "y"},
    }


async def test_a_flushed_script_is_loaded_again(script_engine: Partition, tmp_path: Path) -> None:
    verb = write(tmp_path, short("return {'ok'}"))

    for _ in range(3):
        await script_engine.client.script_flush()
        assert await verb.call(script_engine.client, script_engine.prefix) == [b"ok"]


async def test_many_partitions_are_called_in_one_round(script_engine: Partition, tmp_path: Path) -> None:
    verb = write(
        tmp_path,
        short("return {'ok', KEYS[1], n}", "-- ARGV   n int\n-- REPLY  ok\n--        tag str\n--        n int"),
    )
    prefixes = keys.prefixes(3)

    for _ in range(2):
        assert await verb.pipelined(script_engine.client, prefixes, n=5) == [[b"ok", p.encode(), 5] for p in prefixes]


async def test_one_failing_partition_hides_no_other(partition: Partition, tmp_path: Path) -> None:
    body = "--!include keys\nif P == '{bad}:' then redis.call('LPUSH', key.meta, 1) end\nreturn {'ok'}"
    verb = write(tmp_path, short(body))

    good, bad = await verb.pipelined(partition.client, ["{good}:", partition.prefix.replace("p00pp", "bad")])
    assert (good, bad) == ([b"ok"], [b"ok"])

    await partition.client.unlink("{bad}:meta")
    await partition.client.hset("{bad}:meta", "a", "b")
    good, bad = await verb.pipelined(partition.client, ["{good}:", "{bad}:"])

    assert good == [b"ok"]
    assert isinstance(bad, ScriptFailed)


async def test_a_script_error_names_the_line_that_was_written(partition: Partition, tmp_path: Path) -> None:
    verb = write(tmp_path, short("--!include lib/bad.lua\nbreak_it()\nreturn {'ok'}"), bad=BAD)

    with pytest.raises(ScriptFailed, match=r"^try failed at lib/bad\.lua:3: "):
        await verb.call(partition.client, partition.prefix)


async def test_a_wrong_type_is_a_script_error_and_not_an_outage(partition: Partition, tmp_path: Path) -> None:
    verb = write(tmp_path, short("--!include keys\nredis.call('LPUSH', key.meta, 1)\nreturn {'ok'}"))

    with pytest.raises(ScriptFailed, match="WRONGTYPE"):
        await verb.call(partition.client, partition.prefix)


async def test_an_emptied_engine_stops_the_caller(script_engine: Partition, tmp_path: Path) -> None:
    verb = write(tmp_path, short("return {'no_epoch'}"))

    with pytest.raises(NoEpoch, match="holds no epoch"):
        await verb.call(script_engine.client, script_engine.prefix)


@pytest.mark.parametrize(
    "reply", ["{'surprise'}", "{}", "1", "'ok'", "{1, 'ok'}", "{'ok', 'more than that'}", "{'no_epoch ', 1}"]
)
async def test_a_reply_that_was_not_declared_is_refused(partition: Partition, tmp_path: Path, reply: str) -> None:
    verb = write(tmp_path, short(f"return {reply}"))

    with pytest.raises(BrokenInvariant, match=r"^lua/try\.lua answered"):
        await verb.call(partition.client, partition.prefix)


def test_a_value_that_has_a_default_may_be_left_out(tmp_path: Path) -> None:
    header = "-- REPLY  ok\n--        retired int\n--        looked int =0"
    verb = write(tmp_path, short("return {'ok', 1}", header))

    assert verb.checked([b"ok", 1]) == [b"ok", 1]
    assert verb.checked([b"ok", 1, 2]) == [b"ok", 1, 2]
    with pytest.raises(BrokenInvariant):
        verb.checked([b"ok"])


FITTING = [b"ok", 2, b"me", b"ok", 3, b"late", 0]


@pytest.mark.parametrize("reply", [FITTING, [b"more", *FITTING[1:]], [b"lost"]])
def test_a_reply_of_the_declared_form_is_returned(tmp_path: Path, reply: list[Any]) -> None:
    assert write(tmp_path, HEADER + BODY).checked(reply, 2) is reply


@pytest.mark.parametrize(
    ("reply", "has_hints"),
    [
        ([b"ok"], False),
        (FITTING[:-1], False),
        ([*FITTING, 7], False),
        ([*FITTING, [b"hint"]], False),
        (FITTING, True),
        ([*FITTING, b"hint"], True),
        ([b"lost", 2], False),
        ([b"ok", b"2", *FITTING[2:]], False),
        ([b"ok", 2, 2, *FITTING[3:]], False),
        ([b"ok", 2, b"me", b"never", 3, b"late", 0], False),
        ([b"ok", 2, b"me", [b"ok"], 3, b"late", 0], False),
        ([b"ok", 2, b"me", b"ok", b"3", b"late", 0], False),
    ],
)
def test_a_reply_of_another_form_is_a_broken_invariant(tmp_path: Path, reply: list[Any], has_hints: bool) -> None:
    verb = write(tmp_path, HEADER + BODY)

    with pytest.raises(BrokenInvariant, match=r"^lua/try\.lua answered 2 items by "):
        verb.checked(reply, 2, has_hints)


async def test_a_global_written_on_any_path_is_refused_by_the_engine(partition: Partition, tmp_path: Path) -> None:
    verb = write(tmp_path, short("do\n  leak = 1\nend\nreturn {'ok'}"))

    with pytest.raises(ScriptFailed, match=r"try\.lua:5"):
        await verb.call(partition.client, partition.prefix)


BAD = """\
local function break_it()
  local nothing
  return nothing.field
end
"""
