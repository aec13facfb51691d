"""gojob_redis/cli/failures.py: how the versions of failures are shown."""

import pytest

from gojob_redis.cli import failures

GROUP = {"namespace": "default", "app": "shop", "handler": "send", "type": "ValueError", "message": "no order #"}


def test_a_version_is_shown_by_its_name_else_by_the_beginning_of_its_digest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named, unnamed = {"digest": "d1", "version": "1.4"}, {"digest": "d2345678901", "version": ""}
    items = [GROUP | {"first_in": named, "last_in": unnamed}, GROUP | {"first_in": None, "last_in": None}]
    monkeypatch.setattr(failures, "call", lambda *_, **__: {"items": items, "next": None})

    failures.list_failures()

    [head, first, second] = capsys.readouterr().out.splitlines()[:3]
    assert head.split()[-2:] == ["first_in", "last_in"]
    assert first.split()[-2:] == ["1.4", "d2345678"]
    assert second.split()[-1] == "#"
