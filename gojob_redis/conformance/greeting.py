"""The handshake, the hello, and what a worker must not mind."""

from typing import Final

from gojob_redis.conformance import frames
from gojob_redis.conformance.conversation import SOON_S
from gojob_redis.conformance.scenario import Failed, Scenario, scenario
from gojob_redis.conformance.stage import Stage
from gojob_sdk.protocol import BATCH_ITEMS, PATH, SUBPROTOCOL, VERSIONS, read_spec, spec_digest

LEAST_CAPACITY: Final = 2


@scenario("handshake", "Connects to /v1/worker with the subprotocol, and the token in its header only", "§1")
async def handshake(stage: Stage) -> None:
    await stage.home()
    assert stage.first is not None
    request = stage.first.request
    path, _, query = request.path.partition("?")
    if path != PATH:
        raise Failed(f"the path {PATH}", path)
    offered = ", ".join(request.headers.get_all("Sec-WebSocket-Protocol"))
    if SUBPROTOCOL not in offered:
        raise Failed(f"the subprotocol {SUBPROTOCOL}", offered or "none")
    given = request.headers.get_all("Authorization")
    if given != [f"Bearer {stage.token}"]:
        raise Failed(f"the header Authorization: Bearer {stage.token}", ", ".join(given) or "no such header")
    others = [name for name, value in request.headers.raw_items() if stage.token in value]
    if len(others) > 1 or stage.token in query:
        raise Failed("the token in the Authorization header and nowhere else", f"it in {', '.join(others)} {query}")
    if "Origin" in request.headers:
        raise Failed("no Origin header: that is what browsers send", request.headers["Origin"])


@scenario("subprotocol", "Hangs up on a server that does not choose the subprotocol", "§1", needs_command=True)
async def subprotocol(stage: Stage) -> None:
    await stage.begin_anew()
    stage.speaks = False
    talk = await stage.connection()
    await talk.over(SOON_S)
    await stage.begin_anew()
    if talk.heard:
        raise Failed("no frame to a server that is no gateway", talk.told())


@scenario("hello", "Says a valid hello with everything the kit asked for", "§3 hello")
async def hello(stage: Stage) -> None:
    await stage.home()
    assert stage.first is not None
    frame = stage.first.hello
    if not {frame["protocol"], *frame.get("speaks", ())} & set(VERSIONS):
        raise Failed(f"protocol {VERSIONS[-1]}", f"protocol {frame['protocol']}, speaks {frame.get('speaks')}")
    if (frame["namespace"], frame["app"]) != (stage.namespace, stage.app):
        raise Failed(f"namespace {stage.namespace}, app {stage.app}", f"{frame['namespace']}, {frame['app']}")
    if missing := set(frames.HANDLERS) - set(frame["handlers"]):
        raise Failed(f"the handlers {', '.join(frames.HANDLERS)}", f"all but {', '.join(sorted(missing))}")
    if frame["capacity"] < LEAST_CAPACITY:
        raise Failed(f"a capacity of at least {LEAST_CAPACITY}", str(frame["capacity"]))
    if "session" in frame or frame["held"]:
        raise Failed("neither session nor held runs in the first hello of a process", f"{frame}")


@scenario("welcome-first", "Sends nothing between hello and welcome", "§2 Order", needs_command=True)
async def welcome_first(stage: Stage) -> None:
    await stage.begin_anew()
    talk = await stage.arrival()
    await talk.quiet(0.4)  # what comes meanwhile is a violation
    await stage.welcome(talk)
    await talk.until(lambda: talk.all_of("renew"), SOON_S, "a renew after the welcome")


@scenario("unknown", "Ignores frames and fields that it does not know", "§1")
async def unknown(stage: Stage) -> None:
    talk = await stage.home()
    await talk.send({"type": "praise", "words": ["well", "done"]})
    one = frames.assignment("echo", {"mood": "good"})
    talk.expects([one])
    await talk.send({**frames.assign({**one, "mood": "good"}), "mood": "good"})  # type: ignore[typeddict-unknown-key]
    await talk.ended(one)


@scenario(
    "describe", "Tells the specs that its hello names when it is asked, and minds no question for others", "§4 describe"
)
async def describe(stage: Stage) -> None:
    talk = await stage.home()
    assert stage.first is not None
    named = [digest for digest in dict.fromkeys(stage.first.hello.get("specs", ())) if digest]
    await talk.send({"type": "describe", "specs": ["x" * 22, *named[: BATCH_ITEMS - 1]]})
    one = frames.assignment("echo", {"mood": "good"})
    talk.expects([one])
    await talk.send(frames.assign(one))
    await talk.ended(one)
    specs = [spec for frame in talk.all_of("described") for spec in frame["specs"]]
    if {spec_digest(spec) for spec in specs} != set(named[: BATCH_ITEMS - 1]):
        raise Failed(f"the specs of {', '.join(named) or 'no digest'}", f"{len(specs)} others or less")
    for spec in specs:
        try:
            read_spec(spec)
        except ValueError as error:
            raise Failed("a spec that is within its bounds", str(error)) from None


SCENARIOS: Final[tuple[Scenario, ...]] = (handshake, subprotocol, hello, welcome_first, unknown, describe)
