"""Workers in processes of their own, and as tasks of Ray, write what one writes."""

import pytest

from atoken.tokenizing.corpus.finishing import finish
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import make_plan
from atoken.tokenizing.corpus.processes import run_processes
from atoken.tokenizing.corpus.ray_tasks import run_ray
from atoken.tokenizing.corpus.work import work

from .samples import complete, contents


@pytest.fixture
def both(loaded, pictures, tmp_path):
    expected = complete(pictures, tmp_path / "expected", loaded["continuous"], unit_rows=2)
    return expected, make_plan(str(pictures), tmp_path / "out", TokenizeOptions(unit_rows=2), loaded["continuous"])


def check(expected, plan):
    finish(plan)
    assert contents(plan.folder) == contents(expected.folder)


def test_processes(both):
    expected, plan = both
    done = []
    assert run_processes(plan, 2, "cpu", progress=done.append) == []
    assert done[-1] == 5
    check(expected, plan)


def test_decoding_in_processes(both, loaded):
    expected, plan = both
    assert len(list(work(plan, loaded["continuous"], plan.open_source(), decoding_processes=1))) == 5
    check(expected, plan)


def test_ray(both):
    pytest.importorskip("ray")
    expected, plan = both
    done = []
    assert run_ray(plan, "cpu", 1, done.append) == [] and done == [1, 2, 3, 4, 5]
    check(expected, plan)


def test_a_process_that_fails_says_why(loaded, pictures, tmp_path):
    plan = make_plan(str(pictures), tmp_path / "out", TokenizeOptions(), loaded["continuous"])
    # Whatever the reason: here the folder has become a file.
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "out").write_text("no folder")
    with pytest.raises(OSError, match="Not a directory"):
        run_processes(plan, 1, "cpu")
