"""``gojob doctor``: looks at an engine and at the installation in it, and says what is wrong and what to do.

1. Nothing here writes, except that the script whose latency is measured (``now``) moves a partition's steady clock.
2. Each examination is a function that yields findings; one that cannot be made is a finding too. A finding is ``good``,
   ``doubtful`` (work goes on, with a risk) or ``bad`` (work is lost, stands still, or will; or others may change it).
3. ``KNOWN_BAD`` holds only releases with a fault that this product can run into, each with its reason; it is no list of
   all advisories. Sources: the release notes of Redis and Valkey.
"""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from gojob_redis.domain import limits, verbs
from gojob_redis.domain.errors import GojobError, Unavailable
from gojob_redis.engine.client import OLDEST_ENGINE, Clients, connected, node_client, repeat, round_trip
from gojob_redis.engine.cluster import ClusterClient
from gojob_redis.engine.errors import EngineError
from gojob_redis.engine.keys import CONTROL, FIRST_SCHEMA, SCHEMA, SLOTS, K, slot_of, tags
from gojob_redis.engine.partitions import Partition, Partitions
from gojob_redis.engine.scripts import schema_hint
from gojob_redis.runtime import private
from gojob_redis.runtime.config import Settings
from gojob_redis.runtime.terminal import visible

PATIENCE_S: Final = 3.0
CLOCK_DOUBTFUL_MS: Final = 1_000
CLOCK_BAD_MS: Final = 60_000
SCRIPT_DOUBTFUL_MS: Final = 20.0
SCRIPT_CALLS: Final = 20
FULL_SHARE: Final = 0.7
LOOPBACK: Final = "127.0.0.1"
SETTINGS: Final = ("appendfsync", "cluster-*", "min-replicas-to-write", "bind", "port", "protected-mode")

Version = tuple[int, ...]


class Health(StrEnum):
    """How serious a finding is."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen, where, and what to do about it."""

    health: Health
    what: str
    """One word: which examination."""
    where: str
    """A node's address, or "" for all of them."""
    seen: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        return {
            "health": self.health.value,
            "what": self.what,
            "where": self.where,
            "seen": self.seen,
            "hint": self.hint,
        }


# ---- versions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KnownBad:
    """Releases of one line, from one on and before the one that mended them."""

    engine: str
    since: Version
    mended: Version
    why: str
    health: Health = Health.DOUBTFUL
    only_cluster: bool = False


_LUA = "scripts of anybody who may connect can take the engine over (CVE-2025-49844)"

KNOWN_BAD: Final = (
    KnownBad("redis", (7, 0, 0), (7, 0, 5), "crashes when a key expires while its slot is moved", Health.BAD, True),
    KnownBad("redis", (7, 0, 0), (7, 0, 5), "a rewrite of the append-only file does not sync the old one"),
    KnownBad("redis", (7, 0, 0), (7, 0, 12), "WAIT may answer too early after a blocked command of a module"),
    KnownBad("redis", (7, 2, 0), (7, 2, 5), "numbers that scripts pass to commands can fail to convert", Health.BAD),
    KnownBad("redis", (7, 2, 0), (7, 2, 4), "mishandles the ownership of a slot that leaves", only_cluster=True),
    KnownBad("redis", (7, 4, 0), (7, 4, 6), "a blocked read may never end"),
    KnownBad("redis", (7, 0, 0), (7, 2, 11), _LUA),
    KnownBad("redis", (7, 4, 0), (7, 4, 6), _LUA),
    KnownBad("redis", (8, 0, 0), (8, 0, 4), _LUA),
    KnownBad("redis", (8, 2, 0), (8, 2, 2), _LUA),
    KnownBad("valkey", (7, 2, 0), (7, 2, 11), _LUA),
    KnownBad("valkey", (8, 0, 0), (8, 0, 6), _LUA),
    KnownBad("valkey", (8, 1, 0), (8, 1, 4), _LUA),
    KnownBad("valkey", (9, 0, 0), (9, 0, 1), "stale pointers after a reply buffer was resized: crashes under load"),
    KnownBad("valkey", (9, 0, 0), (9, 0, 5), "crashes when a slot begins to arrive (use after free)", Health.BAD, True),
    KnownBad("valkey", (9, 0, 0), (9, 0, 5), "a damaged stream in a snapshot can take the engine over"),
    KnownBad("valkey", (9, 1, 0), (9, 1, 2), "the script debugger leaves a freed interpreter in use: may crash"),
)


def version_of(info: dict[str, Any]) -> tuple[str, Version]:
    """The engine and its own version; Valkey also names a Redis version, which is only its dialect."""
    name = "valkey" if info.get("server_name") == "valkey" or "valkey_version" in info else "redis"
    text = str(info.get(f"{name}_version", "0"))
    return name, tuple(int("".join(filter(str.isdigit, part)) or 0) for part in text.split(".")[:3])


def faults_of(engine: str, version: Version, *, clustered: bool) -> list[KnownBad]:
    """What is known against a release, the worst first."""
    faults = [
        fault
        for fault in KNOWN_BAD
        if fault.engine == engine and fault.since <= version < fault.mended and (clustered or not fault.only_cluster)
    ]
    return sorted(faults, key=lambda fault: fault.health is not Health.BAD)


# ---- what is looked at -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """One engine, and what it answered."""

    name: str
    primary: bool
    info: dict[str, Any] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    ahead_ms: float = 0.0
    """Its clock minus this host's."""
    cluster: dict[str, str] = field(default_factory=dict)
    silent: str = ""
    """Why it did not answer."""
    host: str = ""
    """Where it was reached; "" for a Unix socket."""
    open: bool = False
    """Whether it answers a client that sends no password."""


async def examine(settings: Settings, url: str, directory: Path | None = None) -> list[Finding]:
    """Everything that can be found; never raises for the state of the engine.

    directory: of an embedded engine.
    """
    mode = settings.redis.mode
    directory = directory or _directory_at(url)
    files = list(_of_directory(directory)) if directory else []
    try:
        async with connected(url, mode=mode) as clients:
            nodes = await _nodes(clients, url)
            findings = [*files, *of_nodes(nodes), *_of_all(nodes, mode)]
            if any(node.primary and not node.silent for node in nodes):
                space = Partitions(clients, settings.redis.partitions)
                may_bootstrap = settings.redis.bootstrap == "auto"
                findings += [each async for each in _of_installation(space, nodes, may_bootstrap, directory)]
            return findings
    except (GojobError, EngineError, OSError) as error:
        hint = error.hint if isinstance(error, GojobError) else "Is the address right, and the mode? See --redis-mode."
        return [*files, Finding(Health.BAD, "reach", "", f"No engine answers ({_text(error)}).", hint)]


async def _nodes(clients: Clients, url: str) -> list[Node]:
    admin: Any = clients.admin
    if isinstance(admin, ClusterClient):
        members = admin.get_nodes()
        nodes = list(await asyncio.gather(*(_ask(each.name, each.server_type == "primary", each) for each in members)))
        await asyncio.gather(
            *(_try_door(node, url, each.host, int(each.port)) for node, each in zip(nodes, members, strict=True))
        )
        return nodes
    first = await _ask("primary", True, admin)
    if not first.silent:
        await _try_door(first, url, *_place_of(admin, first))
    replicas = [value for name, value in first.info.items() if name.startswith("slave") and isinstance(value, dict)]
    nodes = [first]
    for replica in replicas:
        host, port = str(replica["ip"]), int(replica["port"])
        async with _client_of(host, port, admin) as client:
            nodes.append(await _ask(f"{host}:{port}", False, client))
        await _try_door(nodes[-1], url, host, port)
    return nodes


def _place_of(client: Any, node: Node) -> tuple[str, int]:
    """Host and port of the engine that a client speaks to; behind a Unix socket the port it listens on besides."""
    pool = client.connection_pool
    if address := getattr(pool, "master_address", None):
        return str(address[0]), int(address[1])
    options = pool.connection_kwargs
    return ("", int(node.config.get("port", 0))) if "path" in options else (str(options["host"]), int(options["port"]))


async def _try_door(node: Node, url: str, host: str, port: int) -> None:
    """Try whether it answers a client that sends no password."""
    node.host = host
    if node.silent or not port:
        return
    tls = url.startswith("rediss:")
    client: Any = node_client(host or LOOPBACK, port, timeout_s=PATIENCE_S, tls=tls)
    try:
        node.open = bool(await client.execute_command("PING"))
    except (EngineError, OSError):
        node.open = False
    finally:
        await client.aclose()


@asynccontextmanager
async def _client_of(host: str, port: int, like: Any) -> AsyncIterator[Any]:
    """A client for one replica, with the login of another client."""
    login = {
        name: value
        for name, value in like.connection_pool.connection_kwargs.items()
        if name in ("username", "password") and value
    }
    client = node_client(host, port, timeout_s=PATIENCE_S, login=login)
    try:
        yield client
    finally:
        await client.aclose()


async def _ask(name: str, primary: bool, client: Any) -> Node:
    node = Node(name, primary)
    try:
        async with asyncio.timeout(PATIENCE_S):
            node.info = dict(await client.execute_command("INFO"))
            sent = time.time()
            seconds, micros = await client.execute_command("TIME")
            node.ahead_ms = (int(seconds) + int(micros) / 1e6 - (sent + time.time()) / 2) * 1000
            node.config = await _config(client)
            if node.info.get("cluster_enabled"):
                answer = await client.execute_command("CLUSTER INFO")
                node.cluster = {_text(name): _text(value) for name, value in answer.items()}
    except (EngineError, OSError) as error:  # TimeoutError is an OSError
        node.silent = _text(error) or type(error).__name__
    return node


async def _config(client: Any) -> dict[str, str]:
    """The settings that matter; empty where CONFIG is forbidden, as in most managed services."""
    try:
        answer = await client.execute_command("CONFIG GET", *SETTINGS)
    except EngineError:
        return {}
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    return {_text(name): _text(value) for name, value in pairs}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# ---- the directory of an embedded engine -----------------------------------------------------------------------------


def _directory_at(url: str) -> Path | None:
    """The directory of an embedded engine, if this is its socket."""
    parent = Path(unquote(urlsplit(url).path)).parent
    return parent if url.startswith("unix:") and (parent / "engine.conf").exists() else None


def _of_directory(directory: Path) -> Iterator[Finding]:
    """Whether other users of this machine are kept from data, passwords and tokens."""
    where = str(directory)
    facts = directory.stat()
    if facts.st_uid != os.geteuid():
        seen = f"It belongs to another user (uid {facts.st_uid}), who may read it all."
        yield Finding(Health.BAD, "files", where, seen, "Run the doctor, and the engine, as its owner.")
        return
    readable = private.open_to_others(directory)
    if facts.st_mode & private.OTHERS:
        seen = f"Other users of this machine may enter it (mode {stat.S_IMODE(facts.st_mode):o})."
        yield Finding(Health.BAD, "files", where, seen, f"chmod 700 {directory}; then make new tokens.")
    if readable:
        seen = f"{len(readable)} files in it could be read by others if it were opened, such as {readable[0].name}."
        yield Finding(Health.DOUBTFUL, "files", where, seen, f"chmod -R go= {directory}")
    if not readable and not facts.st_mode & private.OTHERS:
        yield Finding(Health.GOOD, "files", where, "Only its owner may enter it and read its files.")


# ---- each node -------------------------------------------------------------------------------------------------------


def of_nodes(nodes: Sequence[Node]) -> Iterator[Finding]:
    looks: tuple[Callable[[Node], Iterable[Finding]], ...] = (_version, _access, _eviction, _file, _memory, _clock)
    for node in nodes:
        if node.silent:
            health = Health.BAD if node.primary else Health.DOUBTFUL
            yield Finding(health, "reach", node.name, f"It does not answer ({node.silent}).", "Start it, or remove it.")
            continue
        for look in looks:
            yield from look(node)


def _version(node: Node) -> Iterator[Finding]:
    engine, version = version_of(node.info)
    text = f"{engine.capitalize()} {'.'.join(map(str, version))}"
    dialect = tuple(int(part) for part in str(node.info.get("redis_version", "0.0")).split(".")[:2])
    if dialect < OLDEST_ENGINE:
        yield Finding(Health.BAD, "version", node.name, f"{text} is too old.", "Use Redis 7.2 or newer, or Valkey.")
        return
    faults = faults_of(engine, version, clustered=bool(node.info.get("cluster_enabled")))
    if not faults:
        yield Finding(Health.GOOD, "version", node.name, f"{text}; nothing is known against it.")
    for fault in faults:
        mended = ".".join(map(str, fault.mended))
        yield Finding(fault.health, "version", node.name, f"{text}: {fault.why}.", f"Use {mended} or newer.")


def _access(node: Node) -> Iterator[Finding]:
    """Who may connect. Every client that may connect can make itself an admin token."""
    if not node.open:
        alone = not node.host and node.config.get("port") == "0"
        seen = "It listens on a Unix socket only." if alone else "It asks for a password."
        yield Finding(Health.GOOD, "access", node.name, seen)
        return
    hint = (
        "CONFIG SET requirepass, write it into the configuration file, and name the password in GOJOB_REDIS__URL "
        "(redis://:PASSWORD@host:port)."
    )
    if _only_here(node):
        seen = "It asks for no password: every user of its machine may read and change everything."
        yield Finding(Health.DOUBTFUL, "access", node.name, seen, hint)
        return
    seen = "It asks for no password and listens to other machines: whoever reaches it may read and change everything."
    yield Finding(Health.BAD, "access", node.name, seen, f"{hint} Until then: CONFIG SET protected-mode yes.")


def _only_here(node: Node) -> bool:
    """Whether other machines cannot connect; where CONFIG is forbidden, whether we did it from the same one."""
    if node.config.get("protected-mode") == "yes":
        return True
    bound = node.config.get("bind", node.host or LOOPBACK).split()
    return bool(bound) and all(_is_loopback(word.lstrip("-")) for word in bound)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _eviction(node: Node) -> Iterator[Finding]:
    policy = str(node.info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        yield Finding(Health.GOOD, "eviction", node.name, "It deletes nothing when its memory is full (noeviction).")
    else:
        hint = "CONFIG SET maxmemory-policy noeviction, and write it into the configuration file."
        yield Finding(
            Health.BAD, "eviction", node.name, f"With {policy} it deletes tasks when its memory is full.", hint
        )


def _file(node: Node) -> Iterator[Finding]:
    if not node.info.get("aof_enabled"):
        seen = "There is no append-only file: a restart loses the work since the last snapshot."
        yield Finding(Health.DOUBTFUL, "file", node.name, seen, "CONFIG SET appendonly yes.")
        return
    if node.info.get("aof_last_write_status", "ok") != "ok" or node.info.get("aof_last_bgrewrite_status", "ok") != "ok":
        seen = "The append-only file could not be written or rewritten."
        yield Finding(Health.BAD, "file", node.name, seen, "Is the disk full? See the engine's log.")
        return
    fsync = node.config.get("appendfsync", "unknown")
    meaning = {
        "always": "a write is on disk before it is answered",
        "everysec": "a crash of the machine loses the last seconds",
        "no": "a crash of the machine loses what the system had not written back",
    }.get(fsync, "how often it is synced is not told here")
    health = Health.DOUBTFUL if fsync == "no" else Health.GOOD
    hint = "CONFIG SET appendfsync everysec." if fsync == "no" else ""
    yield Finding(health, "file", node.name, f"Append-only file, appendfsync {fsync}: {meaning}.", hint)


def _memory(node: Node) -> Iterator[Finding]:
    used, most = int(node.info.get("used_memory", 0)), int(node.info.get("maxmemory", 0))
    if not most:
        seen = f"{used / limits.MIB:.0f} MiB used, and no maxmemory: the system may kill it when memory runs out."
        yield Finding(
            Health.DOUBTFUL, "memory", node.name, seen, "Set maxmemory to 70 % of what the machine has for it."
        )
    else:
        health = Health.DOUBTFUL if used > FULL_SHARE * most else Health.GOOD
        hint = "Raise maxmemory, or shorten the history." if health is Health.DOUBTFUL else ""
        yield Finding(health, "memory", node.name, f"{used / most:.0%} of {most / limits.MIB:.0f} MiB used.", hint)


def _clock(node: Node) -> Iterator[Finding]:
    apart = abs(node.ahead_ms)
    health = Health.BAD if apart > CLOCK_BAD_MS else Health.DOUBTFUL if apart > CLOCK_DOUBTFUL_MS else Health.GOOD
    hint = "" if health is Health.GOOD else "Run a time service on both. Slots fire by the engine's clock."
    yield Finding(health, "clock", node.name, f"Its clock is {node.ahead_ms:+.0f} ms from this host's.", hint)


# ---- all nodes together ----------------------------------------------------------------------------------------------


def _of_all(nodes: Sequence[Node], mode: str) -> Iterator[Finding]:
    yield from _replicas(nodes, mode)
    if mode == "cluster":
        yield from _cluster(nodes)
    clocks = [node.ahead_ms for node in nodes if not node.silent]
    if len(clocks) > 1 and max(clocks) - min(clocks) > CLOCK_DOUBTFUL_MS:
        seen = f"The clocks of the nodes are up to {max(clocks) - min(clocks):.0f} ms apart."
        yield Finding(Health.DOUBTFUL, "clock", "", seen, "After a failover, slots fire by another clock: align them.")


def _replicas(nodes: Sequence[Node], mode: str) -> Iterator[Finding]:
    for node in nodes:
        if node.silent:
            continue
        if not node.primary:
            up = node.info.get("master_link_status") == "up"
            seen = "A replica, in step." if up else "A replica that lost its primary."
            hint = "" if up else "See its log: does it reach its primary, with the right password?"
            yield Finding(Health.GOOD if up else Health.DOUBTFUL, "replicas", node.name, seen, hint)
        elif int(node.info.get("connected_slaves", 0)):
            yield Finding(Health.GOOD, "replicas", node.name, f"Replicas: {node.info['connected_slaves']}.")
        else:
            lost = "its partitions stand still" if mode == "cluster" else "everything stands still"
            seen = f"No replica: when it dies, {lost} until it is back, and `replicated` cannot be had."
            yield Finding(Health.DOUBTFUL, "replicas", node.name, seen, "Add a replica.")


def _cluster(nodes: Sequence[Node]) -> Iterator[Finding]:
    informed = next((node for node in nodes if node.cluster), None)
    if informed is None:
        return
    served = int(informed.cluster.get("cluster_slots_ok", 0))
    if served == SLOTS and informed.cluster.get("cluster_state") == "ok":
        yield Finding(Health.GOOD, "slots", "", f"All {SLOTS} slots are served.")
    else:
        hint = "Bring the failed node back, or run `valkey-cli --cluster fix`."
        yield Finding(Health.BAD, "slots", "", f"Only {served} of {SLOTS} slots are served.", hint)
    if informed.config.get("cluster-require-full-coverage") == "yes":
        seen = "cluster-require-full-coverage is yes: one lost node stops all partitions, not only its own."
        yield Finding(Health.DOUBTFUL, "slots", "", seen, "CONFIG SET cluster-require-full-coverage no on every node.")
    timeout_ms = int(informed.config.get("cluster-node-timeout", 0))
    if timeout_ms > limits.LEASE_MS:
        seen = f"cluster-node-timeout is {timeout_ms} ms, so a failover takes longer than a lease lasts."
        yield Finding(Health.DOUBTFUL, "slots", "", seen, "2000 to 5000 ms suit a network of one site.")


# ---- the installation ------------------------------------------------------------------------------------------------


def _nothing_there(may_bootstrap: bool) -> Finding:
    if may_bootstrap:
        return Finding(Health.DOUBTFUL, "installation", "", "There is none here yet.", "The first start makes it.")
    hint = "Was its data lost? Restore it. If there was none: run 'gojob bootstrap' once."
    return Finding(Health.BAD, "installation", "", "There is none here, and no start may make one.", hint)


def _bootstrapped(bootstrapped_ms: str, nodes: Sequence[Node], directory: Path | None) -> Iterator[Finding]:
    """Since when it exists: one that is younger than it should be was bootstrapped on an engine that lost its data.

    directory: of an embedded engine. Where nothing in it is older than the installation, nothing was lost.
    """
    if not bootstrapped_ms.isdecimal() or int(bootstrapped_ms) < limits.DAY_MS:  # an earlier release wrote 1
        return
    ahead_ms = next((node.ahead_ms for node in nodes if not node.silent), 0.0)
    age_ms = int(time.time() * 1000 + ahead_ms) - int(bootstrapped_ms)
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(int(bootstrapped_ms) / 1000))
    oldest_ms = _oldest_ms(directory) if directory else 0.0
    if age_ms >= limits.HOUR_MS or oldest_ms >= int(bootstrapped_ms) - ahead_ms - limits.MINUTE_MS:
        yield Finding(Health.GOOD, "installation", "", f"Bootstrapped {when}.")
        return
    seen = (
        f"Bootstrapped {when}, {max(0, age_ms) // limits.MINUTE_MS} minutes ago: if there was one before, it is gone."
    )
    hint = "If that was no first start, its data was lost: restore it, and set GOJOB_REDIS__BOOTSTRAP=never."
    yield Finding(Health.DOUBTFUL, "installation", "", seen, hint)


def _oldest_ms(directory: Path) -> float:
    """When the oldest file of a directory was written last."""
    written_s = [time.time()]
    for path in directory.iterdir():
        with suppress(FileNotFoundError):  # the engine was done with it
            if path.is_file():
                written_s.append(path.stat().st_mtime)
    return 1000 * min(written_s)


async def _of_installation(
    space: Partitions, nodes: Sequence[Node], may_bootstrap: bool, directory: Path | None
) -> AsyncIterator[Finding]:
    client: Any = space.clients.admin
    try:
        record = await repeat(lambda: client.hgetall(K.installation(CONTROL)), PATIENCE_S)
    except Unavailable as error:
        yield Finding(Health.BAD, "installation", "", f"It cannot be read: {error.message}", "Bring its node back.")
        return
    facts = {_text(name): _text(value) for name, value in record.items()}
    if "bootstrapped" not in facts:
        yield _nothing_there(may_bootstrap)
        return
    for finding in _bootstrapped(facts["bootstrapped"], nodes, directory):
        yield finding
    count = int(facts.get("partitions", 0))
    if count != space.count:
        seen = f"It has {count} partitions, and this process is configured for {space.count}."
        yield Finding(Health.BAD, "partitions", "", seen, f"Set GOJOB_REDIS__PARTITIONS={count}; it is fixed for ever.")
        space = Partitions(space.clients, count)
    else:
        yield Finding(Health.GOOD, "partitions", "", f"{count}, as configured{_spread(space, count)}.")
    answers = await round_trip(client, [("HMGET", K.meta(prefix), "epoch", "schema") for prefix in space.prefixes])
    stored = [schema or FIRST_SCHEMA for epoch, schema in (one for one in answers if isinstance(one, list)) if epoch]
    yield _schema([int(facts.get("schema", FIRST_SCHEMA)), *map(int, stored)])
    async for finding in _of_partitions(space, facts["epoch"]):
        yield finding


def _schema(schemas: Sequence[int]) -> Finding:
    """The data schema of the installation and its partitions, against what this release knows."""
    others = set(schemas) - {SCHEMA}
    if not others:
        return Finding(Health.GOOD, "schema", "", f"The data has schema {SCHEMA}, as this release.")
    numbers = " and ".join(map(str, sorted(set(schemas))))
    seen = f"The data has schema {numbers}, and this release works on {SCHEMA}."
    return Finding(Health.BAD, "schema", "", seen, schema_hint(max(others)))


def _spread(space: Partitions, count: int) -> str:
    admin = space.clients.admin
    if not isinstance(admin, ClusterClient):
        return ""
    homes = [admin.node_of(f"{{{tag}}}").name for tag in tags(count)]
    control_home = admin.node_of(CONTROL).name
    shares = "/".join(str(share) for share in sorted(map(homes.count, set(homes))))
    return f", {shares} on {len(set(homes))} nodes (control data in slot {slot_of('gojob')}, on {control_home})"


async def _of_partitions(space: Partitions, epoch: str) -> AsyncIterator[Finding]:
    answers = await round_trip(space.clients.admin, [("HGET", K.meta(prefix), "epoch") for prefix in space.prefixes])
    away = [partition for partition, answer in enumerate(answers) if isinstance(answer, Exception)]
    lost = [partition for partition, answer in enumerate(answers) if answer is None]
    other = [p for p, answer in enumerate(answers) if isinstance(answer, bytes) and _text(answer) != epoch]
    if away:
        seen = f"Partitions {_list(away)} do not answer."
        yield Finding(Health.BAD, "epochs", "", seen, "Their node is down, or their slot is moving.")
    if lost:
        seen = f"Partitions {_list(lost)} lost their data."
        yield Finding(Health.BAD, "epochs", "", seen, "Restore it. Only if the loss is accepted: docs/operations.md.")
    if other:
        seen = f"Partitions {_list(other)} belong to another installation."
        yield Finding(Health.BAD, "epochs", "", seen, "Two installations cannot share an engine.")
    if not (away or lost or other):
        yield Finding(Health.GOOD, "epochs", "", f"All partitions hold epoch {epoch}.")
    well = [partition for partition in space if partition.number not in {*away, *lost}]
    if well:
        yield await _latency(space, well)


async def _latency(space: Partitions, partitions: Sequence[Partition]) -> Finding:
    """How long a call of a script takes, one call at a time."""
    took_ms = []
    try:
        for number in range(max(SCRIPT_CALLS, len(partitions))):
            began = time.perf_counter()
            [reply] = await space.call_in([partitions[number % len(partitions)]], verbs.now())
            took_ms.append((time.perf_counter() - began) * 1000)
            if isinstance(reply, Exception):
                raise reply
    except (GojobError, EngineError, OSError) as error:
        return Finding(Health.BAD, "latency", "", f"A script failed: {_text(error)}.", "See the engine's log.")
    middle, worst = median(took_ms), max(took_ms)
    health = Health.DOUBTFUL if middle > SCRIPT_DOUBTFUL_MS else Health.GOOD
    hint = "" if health is Health.GOOD else "A far or busy engine: every task takes six such round trips."
    return Finding(health, "latency", "", f"A script takes {middle:.1f} ms, at most {worst:.1f} ms.", hint)


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


# ---- telling ---------------------------------------------------------------------------------------------------------


def tell(findings: Sequence[Finding]) -> None:
    """A table for people."""
    import sys

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    marks = {Health.GOOD: "[green]✓[/]", Health.DOUBTFUL: "[yellow]![/]", Health.BAD: "[red]✗[/]"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding, places in _grouped(findings):
        hint = f"\n[dim]{escape(visible(finding.hint))}[/]" if finding.hint else ""
        where = f"{len(places)} nodes" if len(places) > 1 else places[0]
        table.add_row(marks[finding.health], finding.what, escape(visible(where)), escape(visible(finding.seen)) + hint)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    counts = {health: sum(finding.health is health for finding in findings) for health in Health}
    console.print(f"{counts[Health.BAD]} bad, {counts[Health.DOUBTFUL]} doubtful, {counts[Health.GOOD]} good")


def _grouped(findings: Sequence[Finding]) -> list[tuple[Finding, list[str]]]:
    """Findings that several nodes share are merged into one; the order of the examinations stays."""
    places: dict[Finding, list[str]] = {}
    for finding in findings:
        places.setdefault(replace(finding, where=""), []).append(finding.where)
    return list(places.items())


def well(findings: Sequence[Finding]) -> bool:
    """Whether nothing is bad."""
    return all(finding.health is not Health.BAD for finding in findings)
