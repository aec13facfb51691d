"""gojob_redis/cli/bulk.py: how jobs and counts are shown."""

import pytest

from gojob_redis.cli.bulk import show_row


def test_what_a_job_would_match_is_one_number(capsys: pytest.CaptureFixture[str]) -> None:
    show_row({"matched": 4000, "text": "4,000+", "is_exact": False}, False)

    assert capsys.readouterr().out.split() == ["matched", "4,000+"]


def test_the_number_of_ids_is_shown_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    show_row({"id": "j1", "ids": 0, "filter": {}}, False)
    show_row({"id": "j1", "ids": 3, "filter": {}}, False)

    assert capsys.readouterr().out.split() == ["id", "j1", "id", "j1", "ids", "3"]
