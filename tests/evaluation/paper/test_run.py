"""The program: it goes on after a kill, between parts and inside one, and says what is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from atoken.evaluation.chunks import Chunks
from atoken.evaluation.paper.image_tables import make_reconstruction
from atoken.evaluation.paper.parts import MissingInput, read_part
from atoken.evaluation.paper.run import make_all
from atoken.evaluation.paper.workspace import Counts, Workspace

from .helpers import FEW, part, section, workspace

KILLED = """
import os, signal, sys
from pathlib import Path
from atoken.evaluation.paper import run
from atoken.evaluation.paper.parts import INDEX, Part
from atoken.evaluation.paper.section import PaperSection, Real
from atoken.evaluation.paper.workspace import Workspace
from atoken.pages.paper import TitledTable
from atoken.pages.report import Table

TABLES = [TitledTable("ours", Table(["model"], [["a"]]))]
out, alive = Path(sys.argv[1]), sys.argv[2] == "alive"

def first(workspace):
    (out / "calls").open("a").write("first\\n")
    return Part("first", TABLES, protocol=["how"])

def second(workspace):
    (out / "calls").open("a").write("second\\n")
    if not alive:  # killed while the part is written
        write = Path.write_text
        def killed(self, *rest, **options):
            if self.name == INDEX:
                write(self, "{", **options)
                os.kill(os.getpid(), signal.SIGKILL)
            return write(self, *rest, **options)
        Path.write_text = killed
    return Part("second", TABLES, protocol=["how"])

sections = tuple(PaperSection(f"s-{make.__name__}", make.__name__, make, lambda: Real("c", "d", "h"))
                 for make in (first, second))
run.make_all(Workspace(out, out), sections)
"""


def test_a_killed_run_goes_on_with_the_part_that_was_half_written(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run([*command, "dies"]).returncode < 0
    assert not (tmp_path / "index.html").exists() and read_part(tmp_path / "parts/s-second") is None
    assert list((tmp_path / "parts").glob(".s-second.*"))  # half of it is there, under another name
    assert subprocess.run([*command, "alive"]).returncode == 0
    assert (tmp_path / "calls").read_text().split() == ["first", "second", "second"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "first" in page and "second" in page and not list((tmp_path / "parts").glob(".*"))


@pytest.fixture
def no_networks(monkeypatch):
    monkeypatch.setattr(Workspace, "measures_at_hand", lambda self, *wanted: ([], [f"{name}: none" for name in wanted]))


def test_inside_a_part_the_harness_goes_on(tmp_path, monkeypatch, no_networks):
    whole = workspace(tmp_path / "whole", counts=Counts(**{**vars(FEW), "photos": 2}))
    images = section("table-4", make_reconstruction, media=("image",))
    (expected,) = make_all(whole, (images,))
    assert len(expected.tables[0].table.rows) == 4 and expected.protocol

    stopped, write, written = workspace(tmp_path / "stopped"), Chunks.write, []

    def stop_after_two(self, chunk, records, tensors):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(self.folder)
        write(self, chunk, records, tensors)

    monkeypatch.setattr(Chunks, "write", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        make_all(stopped, (images,))
    assert not (stopped.out / "index.html").exists() and not list((stopped.out / "parts").iterdir())
    again = []
    monkeypatch.setattr(Chunks, "write", lambda self, *rest: (again.append(self.folder), write(self, *rest)))
    (found,) = make_all(workspace(tmp_path / "stopped"), (images,))
    assert found.tables == expected.tables
    assert len(again) == 2 and not set(again) & set(written)


def test_what_is_finished_is_not_made_again_until_its_inputs_change(tmp_path):
    calls = []
    made = section("table-4", lambda space: calls.append(1) or part(), media=("image",), files=("record.json",))
    (tmp_path / "record.json").write_text("1")
    for _ in range(2):
        make_all(workspace(tmp_path, root=tmp_path), (made,))
    assert len(calls) == 1
    (tmp_path / "record.json").write_text("2")
    make_all(workspace(tmp_path, root=tmp_path), (made,))
    (tmp_path / "data/photos/heldout/b.png").unlink()
    make_all(Workspace(tmp_path / "out", tmp_path / "data", FEW, tmp_path), (made,))
    make_all(Workspace(tmp_path / "out", tmp_path / "data", Counts(), tmp_path), (made,))
    assert len(calls) == 4


@pytest.mark.parametrize("error", [MissingInput("x.json is not here; <git> has it"), ImportError("pip install y")])
def test_what_is_missing_is_said_and_tried_again(tmp_path, error):
    tries = []

    def make(space):
        tries.append(1)
        if len(tries) < 3:
            raise error
        return part("there now")

    for _ in range(2):
        (found,) = make_all(workspace(tmp_path), (section("table-13", make),))
        assert found.missing == [str(error)] and not found.tables
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "Missing" in page and "&lt;git&gt;" in page or "pip install y" in page
    (found,) = make_all(workspace(tmp_path), (section("table-13", make),))
    assert found.measured == "there now" and not found.missing


def test_without_collected_media_the_examples_serve_and_are_named(tmp_path):
    space = Workspace(tmp_path / "out", tmp_path / "nothing", FEW)
    for kind in ("image", "video", "object"):
        source = space.source(kind)
        assert source.names and "example media" in source.note and Path(source.entry["folder"]).is_dir()
    assert len(space.source("image").names) == FEW.photos
