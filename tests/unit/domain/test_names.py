"""What may be written as a name, a label, a group."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gojob_redis.domain.errors import BadRequest
from gojob_redis.domain.limits import (
    ATTRIBUTES_PER_SESSION,
    LABELS_PER_SESSION,
    NAME_CHARS,
)
from gojob_redis.domain.names import (
    canonical_labels,
    check_app,
    check_attributes,
    check_handler,
    check_labels,
    check_namespace,
    check_required_attribute,
    check_traceparent,
    check_trigger,
    group_id,
    nearest,
)

label_texts = st.text(alphabet="abcXYZ019._/-", min_size=1, max_size=64)
label_maps = st.dictionaries(label_texts, label_texts, max_size=LABELS_PER_SESSION)


@pytest.mark.parametrize("name", ["a", "7", "a-b.c_d", "0day", "a" * NAME_CHARS])
@pytest.mark.parametrize("check", [check_namespace, check_app, check_trigger, check_handler])
def test_a_good_name_is_returned_unchanged(check: object, name: str) -> None:
    assert callable(check)
    assert check(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "-a",
        "a-",
        ".a",
        "a.",
        "a b",
        "a:b",
        "a{b}",
        "a/b",
        "a=b",
        "a\n",
        "é",
        "１",
        "a" * (NAME_CHARS + 1),
        5,
        None,
        b"a",
    ],
)
@pytest.mark.parametrize("check", [check_namespace, check_app, check_trigger])
def test_a_bad_name_is_refused_with_its_field_and_a_remedy(check: object, name: object) -> None:
    assert callable(check)
    with pytest.raises(BadRequest) as caught:
        check(name, "spec.name")

    assert (caught.value.code, caught.value.field, caught.value.limit) == ("bad_name", "spec.name", NAME_CHARS)
    assert caught.value.hint.startswith("Use lower-case letters")


def test_a_handler_may_be_called_like_a_class() -> None:
    assert check_handler("SendInvoice") == "SendInvoice"


def test_a_name_that_is_far_too_long_is_not_echoed_whole() -> None:
    with pytest.raises(BadRequest, match="has 5000 characters") as caught:
        check_app("x" * 5000)

    assert len(caught.value.message) < 200


@given(label_maps, st.randoms())
def test_the_order_in_which_labels_are_given_does_not_matter(labels: dict[str, str], random: object) -> None:
    items = sorted(labels.items(), key=lambda _: random.random())  # type: ignore[attr-defined]

    assert canonical_labels(dict(items)) == canonical_labels(labels)
    assert list(check_labels(dict(items))) == sorted(labels)


def test_no_labels_are_written_as_nothing() -> None:
    assert (canonical_labels({}), check_labels(None)) == ("", {})


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ([], "labels"),
        ("env=gray", "labels"),
        ({"env": ""}, "labels.env"),
        ({"": "gray"}, "labels"),
        ({"env": "a,b"}, "labels.env"),
        ({"a=b": "c"}, "labels"),
        ({"env": "x" * 65}, "labels.env"),
        ({"env": 5}, "labels.env"),
        ({5: "env"}, "labels"),
        ({"env": "gray\n"}, "labels.env"),
    ],
)
def test_a_bad_label_is_refused(labels: object, field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_labels(labels)

    assert (caught.value.code, caught.value.field) == ("bad_label", field)
    assert caught.value.hint


def test_more_labels_than_allowed_are_refused_with_the_limit() -> None:
    labels = {f"k{n}": "v" for n in range(LABELS_PER_SESSION + 1)}

    with pytest.raises(BadRequest) as caught:
        check_labels(labels)

    assert (caught.value.code, caught.value.limit) == ("too_many_labels", LABELS_PER_SESSION)
    assert check_labels(dict(list(labels.items())[:-1]))


def test_more_attributes_than_allowed_are_refused_with_the_limit() -> None:
    with pytest.raises(BadRequest) as caught:
        check_attributes({f"k{n}": "v" for n in range(ATTRIBUTES_PER_SESSION + 1)})

    assert (caught.value.code, caught.value.limit) == ("too_many_attributes", ATTRIBUTES_PER_SESSION)


def test_a_task_requires_at_most_one_attribute() -> None:
    assert check_required_attribute({"host": "db7"}) == {"host": "db7"}
    with pytest.raises(BadRequest, match="at most 1"):
        check_required_attribute({"host": "db7", "gpu": "a100"})


def test_a_group_does_not_depend_on_the_order_of_announcement() -> None:
    one = group_id("shop/billing", ["a", "b"], {"env": "gray", "zone": "x"}, ["host"])
    two = group_id("shop/billing", ["b", "a", "b"], {"zone": "x", "env": "gray"}, {"host": "db7"})

    assert one == two
    assert re.fullmatch(r"[0-9a-z]{13}", one)


def test_a_group_keeps_its_id_from_release_to_release() -> None:
    assert group_id("shop/billing", ["a", "b"], {"env": "gray"}) == "0q4dhsmzaddak"


def test_every_part_of_a_group_counts() -> None:
    groups = [
        group_id("x", ["a"], {}),
        group_id("y", ["a"], {}),
        group_id("x", ["a", "b"], {}),
        group_id("x", ["a"], {"e": "1"}),
        group_id("x", ["a"], {"e": "2"}),
        group_id("x", ["a"], {}, ["host"]),
    ]

    assert len(set(groups)) == len(groups)


def test_the_values_of_attributes_do_not_split_a_group() -> None:
    assert group_id("x", ["a"], {}, {"host": "db7"}) == group_id("x", ["a"], {}, {"host": "db8"})


def test_a_mistyped_name_finds_the_one_that_was_meant() -> None:
    assert nearest("sendinvoise", ["SendInvoice", "cleanup", "send_mail"])[0] == "SendInvoice"
    assert nearest("zzz", ["SendInvoice", "cleanup"]) == []


def test_a_suggestion_takes_no_longer_the_more_names_there_are_and_the_more_alike_they_look() -> None:
    looked_at = 0

    def known() -> Iterator[str]:
        nonlocal looked_at
        for number in range(100_000):
            looked_at += 1
            yield f"{number:017b}".replace("0", "ab").replace("1", "ba").ljust(64, "a")

    nearest("ab" * 32, known())

    assert looked_at < 2_000


def test_a_traceparent_of_any_version_is_taken_as_it_is() -> None:
    for version in ("00", "fe"):
        text = f"{version}-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        assert check_traceparent(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
    ],
)
def test_what_is_no_traceparent_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_traceparent(text, "tasks[1].traceparent")

    assert (caught.value.code, caught.value.field) == ("bad_traceparent", "tasks[1].traceparent")
