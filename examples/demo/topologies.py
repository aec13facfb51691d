"""The same system on more than one engine: a cluster, or a primary and its replicas under sentinels.

Every engine is a process of its own, started by ``gojob engine``; what a cluster has to be told is told by ``redis``'s
own commands. All of them ask for the same password; sentinels ask for none. Nothing here waits for a fixed time. Start
engines from a thread that lives as long as they: the kernel kills them when it ends (``processes.py``).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from examples.demo.processes import HOST, READY_S, NotReady, Process, System
from gojob_redis.engine.embedded import bundled_binary, free_port
from gojob_redis.engine.keys import SLOTS
from gojob_redis.runtime import private

LOOK_S: Final = 0.02
ANSWER_S: Final = 10.0
NO_RETRY: Final = Retry(NoBackoff(), 0)
SERVICE: Final = "gojob"
QUORUM: Final = 2


@dataclass(slots=True)
class Node(Process):
    """An engine and where it listens."""

    port: int = 0
    bus: int = 0
    """Where the other nodes of its cluster reach it."""
    password: str | None = field(default=None, repr=False)

    def ask(self, *command: Any) -> Any:
        """The answer to a command, as text."""
        with self._client(socket_timeout=ANSWER_S) as client:
            return client.execute_command(*command)

    def facts(self, *command: Any) -> dict[str, str]:
        """The lines of CLUSTER INFO or INFO; empty while it does not answer."""
        try:
            with self._client(socket_timeout=LOOK_S * 10, retry=NO_RETRY) as client:
                answer = client.execute_command(*command)
        except (RedisError, OSError):
            return {}
        if isinstance(answer, dict):
            return {name: str(value) for name, value in answer.items()}
        return dict(line.split(":", 1) for line in str(answer).splitlines() if ":" in line)

    def _client(self, **options: Any) -> Any:
        return Redis(HOST, self.port, password=self.password, decode_responses=True, **options)

    @property
    def id(self) -> str:
        """Its name within the cluster."""
        return str(self.ask("CLUSTER", "MYID"))


@dataclass(slots=True)
class _Nodes(System):
    """A system whose engines are ``nodes``."""

    nodes: list[Node] = field(default_factory=list)

    def engines(self) -> Sequence[Process]:
        return self.nodes

    def revive(self, process: Process) -> None:
        """Start what ended once more; an engine answers when this returns."""
        System.revive(self, process)
        if isinstance(process, Node):
            self._wait(process, lambda: process.facts("INFO", "server") != {})

    def _start_node(self, settings: Mapping[str, str], env: Mapping[str, str]) -> Node:
        name, port = f"engine-{len(self.nodes) + 1}", free_port()
        options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        started = self._start(name, self._engine_command(self.directory / name, port, *options), env)
        node = Node(
            started.name, started.popen, started.log, started.command, started.env, port=port, password=self.password
        )
        self.nodes.append(node)
        return node

    def until(self, reached: Callable[[], object], what: str | Callable[[], str]) -> None:
        end = time.monotonic() + READY_S
        while not reached():
            if time.monotonic() > end:
                raise NotReady(f"{what if isinstance(what, str) else what()} did not come within {READY_S:g} s")
            time.sleep(LOOK_S)

    def _answering(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self._wait(node, lambda node=node: node.facts("INFO", "server") != {})  # type: ignore[misc]


@dataclass(slots=True)
class ClusterSystem(_Nodes):
    """A system on a cluster: ``nodes[:primaries]`` are given the slots, the others begin as their replicas in turn."""

    mode: str = "cluster"
    primaries: int = 3
    replicas: int = 3
    node_timeout_ms: int = 2000

    @property
    def redis_url(self) -> str:
        return f"redis://{self.login}" + ",".join(f"{HOST}:{node.port}" for node in self.nodes)

    def start_engine(self, **env: str) -> None:
        """Start the nodes and join them; returns when every node sees all slots served."""
        for _ in range(self.primaries + self.replicas):
            self._start_in_cluster(env)
        self._answering(self.nodes)
        primaries, replicas = self.nodes[: self.primaries], self.nodes[self.primaries :]
        for at, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for at, node in enumerate(primaries):
            share = range(at * SLOTS // self.primaries, (at + 1) * SLOTS // self.primaries)
            node.ask("CLUSTER", "ADDSLOTSRANGE", share.start, share.stop - 1)
        for node in self.nodes[1:]:
            self._meet(node)
        self._known()
        for at, node in enumerate(replicas):
            node.ask("CLUSTER", "REPLICATE", primaries[at % self.primaries].id)
        self.settled()

    def add_node(self, *, replica_of: Node | None = None) -> Node:
        """One more node that knows all others and that they know; a primary without slots unless it is a replica."""
        node = self._start_in_cluster({})
        self._answering([node])
        self._meet(node)
        self._known()
        if replica_of is not None:
            node.ask("CLUSTER", "REPLICATE", replica_of.id)
        self.settled()
        return node

    def settled(self) -> None:
        """Wait until every living node sees all slots served, and every replica has its primary's data."""
        living = [node for node in self.nodes if node.alive()]
        self.until(
            lambda: all(_served(node) and _in_step(node) for node in living),
            lambda: f"a settled cluster, without {[n.name for n in living if not (_served(n) and _in_step(n))]}",
        )

    def holder_of(self, slot: int) -> Node:
        """The primary that serves this slot now."""
        by_port = {node.port: node for node in self.nodes}
        for node in self.nodes:
            if not node.facts("CLUSTER", "INFO"):
                continue
            for first, last, holder, *_ in node.ask("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return by_port[holder[1]]
        raise NotReady(f"nobody serves slot {slot}")

    def move_slot(self, slot: int, target: Node, *, batch: int = 100) -> None:
        """Move one slot key by key, as `valkey-cli --cluster reshard` does (MIGRATE)."""
        source = self.holder_of(slot)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        with Redis(HOST, source.port, password=self.password, socket_timeout=ANSWER_S) as client:
            while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, batch):
                client.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "AUTH", self.password, "KEYS", *keys)
        for node in (target, source, *(each for each in self.nodes if each not in (source, target))):
            if node.alive() and _is_primary(node):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def move_slots_at_once(self, first: int, last: int, target: Node) -> None:
        """Move a range of slots of one node atomically (Valkey 9: CLUSTER MIGRATESLOTS); returns when it is done."""
        source = self.holder_of(first)
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", target.id)
        self.until(lambda: self._moved(source, first, target), f"the move of slots {first} to {last}")

    def _moved(self, source: Node, slot: int, target: Node) -> bool:
        if self.holder_of(slot) is target:
            return True
        for migration in source.ask("CLUSTER", "GETSLOTMIGRATIONS"):
            fields = (
                migration if isinstance(migration, dict) else dict(zip(migration[::2], migration[1::2], strict=True))
            )
            if fields.get("state") in ("failed", "cancelled") and _holds(str(fields.get("slot_ranges", "")), slot):
                raise NotReady(f"the move failed: {fields}")
        return False

    def _start_in_cluster(self, env: Mapping[str, str]) -> Node:
        bus = free_port()
        settings = {
            "cluster-enabled": "yes",
            "cluster-port": str(bus),
            "cluster-node-timeout": str(self.node_timeout_ms),
            "cluster-require-full-coverage": "no",  # a node without a replica takes its own slots down, no others
            "cluster-allow-replica-migration": "no",  # or a node that gave its last slot away becomes a replica
            "repl-diskless-sync-delay": "0",
        }
        node = self._start_node(settings, env)
        node.bus = bus
        return node

    def _meet(self, node: Node) -> None:
        self.nodes[0].ask("CLUSTER", "MEET", HOST, node.port, node.bus)

    def _known(self) -> None:
        living = [node for node in self.nodes if node.alive()]
        count = str(len(self.nodes))
        self.until(
            lambda: all(node.facts("CLUSTER", "INFO").get("cluster_known_nodes") == count for node in living),
            "the acquaintance of all nodes",
        )


def _served(node: Node) -> bool:
    facts = node.facts("CLUSTER", "INFO")
    return facts.get("cluster_state") == "ok" and facts.get("cluster_slots_ok") == str(SLOTS)


def _is_primary(node: Node) -> bool:
    return node.facts("INFO", "replication").get("role") == "master"


def _in_step(node: Node) -> bool:
    facts = node.facts("INFO", "replication")
    return _is_primary(node) or facts.get("master_link_status") == "up"


def _one_leads(nodes: Sequence[Node]) -> bool:
    """One primary, all others its replicas; one that does not answer may still take itself for a primary."""
    reports = [node.facts("INFO", "replication") for node in nodes]
    primaries = sum(facts.get("role") == "master" for facts in reports)
    replicas = sum(facts.get("role") == "slave" and facts.get("master_link_status") == "up" for facts in reports)
    return primaries == 1 and primaries + replicas == len(nodes)


def _holds(ranges: str, slot: int) -> bool:
    parts = [part.partition("-") for part in ranges.replace(",", " ").split()]
    return any(int(first) <= slot <= int(last or first) for first, _, last in parts)


@dataclass(slots=True)
class SentinelSystem(_Nodes):
    """A system on a primary with replicas, watched by three sentinels."""

    mode: str = "sentinel"
    replicas: int = 1
    down_after_ms: int = 2000
    sentinels: list[Node] = field(default_factory=list)

    @property
    def redis_url(self) -> str:
        return f"redis://{self.login}" + ",".join(f"{HOST}:{each.port}" for each in self.sentinels) + f"/{SERVICE}"

    def engines(self) -> Sequence[Process]:
        return [*self.sentinels, *self.nodes]

    def start_engine(self, **env: str) -> None:
        """Start the engines and their sentinels; returns when these agree and the replicas have the data."""
        settings = {"repl-diskless-sync-delay": "0"}
        primary = self._start_node(settings, env)
        for _ in range(self.replicas):
            self._start_node(settings | {"replicaof": f"{HOST} {primary.port}"}, env)
        self._answering(self.nodes)
        for _ in range(2 * QUORUM - 1):
            self._start_sentinel(primary)
        self._answering(self.sentinels)
        self.settled()
        self.until(lambda: all(self._complete(sentinel) for sentinel in self.sentinels), "the sentinels' agreement")

    def settled(self) -> None:
        """Wait until there is one primary and every other living engine has its data."""
        living = [node for node in self.nodes if node.alive()]
        self.until(lambda: _one_leads(living), "one primary, and replicas that have its data")

    def primary(self) -> Node:
        """The engine that the sentinels name now."""
        living = next(sentinel for sentinel in self.sentinels if sentinel.alive())
        _host, port = living.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(node for node in self.nodes if node.port == int(port))

    def _start_sentinel(self, primary: Node) -> None:
        name, port = f"sentinel-{len(self.sentinels) + 1}", free_port()
        place = self.directory / name
        private.close_directory(place)
        settings = place / "sentinel.conf"
        private.write(
            settings,
            f"bind {HOST}\nport {port}\ndir {place}\n"
            f"sentinel monitor {SERVICE} {HOST} {primary.port} {QUORUM}\n"
            f"sentinel auth-pass {SERVICE} {self.password}\n"
            f"sentinel down-after-milliseconds {SERVICE} {self.down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} 10000\n",
        )
        started = self._start(name, (str(settings), "--sentinel"), {}, program=str(bundled_binary()))
        self.sentinels.append(Node(started.name, started.popen, started.log, started.command, started.env, port=port))

    def _complete(self, sentinel: Node) -> bool:
        answer = sentinel.ask("SENTINEL", "MASTER", SERVICE)
        facts = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
        return (str(facts["num-other-sentinels"]), str(facts["num-slaves"])) == (
            str(len(self.sentinels) - 1),
            str(self.replicas),
        )


SYSTEMS: Final[Mapping[str, type[System]]] = {
    "standalone": System,
    "cluster": ClusterSystem,
    "sentinel": SentinelSystem,
}
