"""terminal: the same characters are written out by the worker and by the command line."""

from gojob_redis.runtime import terminal as of_server
from gojob_sdk import terminal


def test_worker_and_command_line_agree_on_what_steers_a_terminal() -> None:
    assert terminal.STEERING == of_server.STEERING
    assert terminal.visible("a\x1b[31m\n") == of_server.visible("a\x1b[31m\n") == "a\\x1b[31m\n"
