"""Which script test executes which line of the Lua files: a pytest plugin for runs on fakeredis.

fakeredis keeps one Lua state per server. A line hook there, and the table the loader keeps of where each line of an
assembled script was written, give file and line.
"""

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from fakeredis.commands_mixins.scripting_mixin import ScriptingCommandsMixin

from gojob_redis.engine import scripts

_HOOK = """
function()
  local lines = {}
  debug.sethook(function(_, line) lines[line] = true end, 'l')
  return function() local seen = lines lines = {} return seen end
end
"""


class Collector:
    """Collects lines while tests run and writes ``{"file:line": [test, …]}`` at the end of the session."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.test = ""
        self.tests: defaultdict[str, set[str]] = defaultdict(set)
        self.takers: dict[int, Any] = {}
        self.verbs = {_sha(verb.source("fake")): verb for verb in scripts.load_all().values()}
        self._eval = ScriptingCommandsMixin.eval
        plugin = self

        def eval_and_look(self: Any, script: bytes, numkeys: int, *args: bytes) -> Any:
            return plugin.look(self, script, numkeys, *args)

        # Its own decorator marks it as a command by attributes of the function.
        eval_and_look.__dict__.update(self._eval.__dict__)
        ScriptingCommandsMixin.eval = eval_and_look  # type: ignore[method-assign]

    def look(self, socket: Any, script: bytes, *args: Any) -> Any:
        """Evaluate a script and remember the lines it came by."""
        runtime = socket._get_server_runtime(socket._server)
        if id(runtime) not in self.takers:
            self.takers[id(runtime)] = runtime.eval(_HOOK)()
        take = self.takers[id(runtime)]
        take()
        try:
            return self._eval(socket, script, *args)
        finally:
            verb = self.verb_of(_sha(script.decode()))
            for number in [*take()] if verb else ():
                if verb and 0 < number <= len(verb.lines):
                    line = verb.lines[number - 1]
                    self.tests[f"{line.file}:{line.number}"].add(self.test)

    def verb_of(self, sha: str) -> scripts.Verb | None:
        """The verb with this text; a test may have put its own in the place of one."""
        if sha not in self.verbs:
            self.verbs |= {_sha(verb.source("fake")): verb for verb in scripts.load_all().values()}
        return self.verbs.get(sha)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins: Lua states of tests before it are gone."""
        self.test = nodeid
        self.takers.clear()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """The run is over."""
        self.path.write_text(json.dumps({line: sorted(tests) for line, tests in self.tests.items()}))


def _sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
