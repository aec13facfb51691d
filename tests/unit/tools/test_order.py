"""tests/tools/order.py: the order in which the files of the suite begin."""

from tests.tools.order import ordered


def test_files_that_wait_begin_between_those_that_compute_and_never_at_the_end() -> None:
    waiting = {f"tests/flow/test_{i}.py": 2 for i in range(4)}
    computing = {f"tests/lua/test_{i}.py": 50 for i in range(4)}

    order = ordered(computing | waiting)

    assert [file.split("/")[1] for file in order] == ["lua", "flow", "flow", "lua", "flow", "lua", "flow", "lua"]


def test_what_computes_longest_comes_first_and_every_other_file_after_those_of_its_kind_before_it() -> None:
    order = ordered({"tests/lua/test_b.py": 9, "tests/lua/test_a.py": 9, "tests/model/test_life.py": 1})

    assert order == ["tests/model/test_life.py", "tests/lua/test_b.py", "tests/lua/test_a.py"]
