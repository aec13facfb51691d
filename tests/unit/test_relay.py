"""gojob_redis/relay.py: what a hint says, whatever somebody wrote into the record it was made of."""

from structlog.testing import capture_logs

from gojob_redis import relay
from gojob_redis.domain import hints


def test_a_name_that_is_no_text_costs_its_characters_and_not_the_run() -> None:
    """A hint that nobody reads is bound again and again."""
    texts = [b"s1", b"3", b"t1", b"1", b"7-ab", b"default/shop/send", b"1", b"0", b"0", b"0", b"0", b"\x00\xff"]
    value = b"\x1f".join([b"run", *texts, b"1000", b"0", b"1", b"p"])

    hint = hints.parse(value)

    assert isinstance(hint, hints.Assignment)
    assert (hint.run, hint.trigger, hint.param) == ("t1", "\x00\ufffd", b"p")


def test_a_hint_of_a_later_release_is_passed_over_and_counted() -> None:
    with capture_logs() as lines:  # counted since the process began: no other test drops a hint of this kind
        read = list(relay.hints([*[b"teleport\x1fs1\x1f3"] * 5, b"sync\x1fs1\x1f3"]))

    assert read == [hints.Sync("s1", 3)]
    assert [(line["kind"], line["dropped"]) for line in lines] == [("teleport", 1), ("teleport", 2), ("teleport", 4)]
