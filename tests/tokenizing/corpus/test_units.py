"""Units are done exactly once, whole, and the same whoever does them."""

import errno
import json
import os
import signal
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError

from atoken.tokenizing.corpus import leases, parts
from atoken.tokenizing.corpus.commits import TornSidecar, UnitFiles
from atoken.tokenizing.corpus.finishing import finish, is_complete
from atoken.tokenizing.corpus.leases import take_lease
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.parts import ParquetPart
from atoken.tokenizing.corpus.plan import make_plan
from atoken.tokenizing.corpus.unit import encode_unit
from atoken.tokenizing.corpus.work import DamagedUnit, work

from .samples import complete, contents, png_of, write_folder, write_tars

FORMATS = {
    "parquet": {},
    "webdataset": {},
    "safetensors": {"size": 32, "flip": True, "keep": {"label": "label"}},
}


@pytest.fixture
def planned(loaded, pictures, tmp_path):
    return make_plan(str(pictures), tmp_path / "out", TokenizeOptions(unit_rows=4), loaded["continuous"])


def finished(plan, loaded, **options):
    return list(work(plan, loaded["continuous"], plan.open_source(), **options))


@pytest.mark.parametrize("format", FORMATS)
def test_two_workers_on_one_unit_write_the_same_bytes(format, loaded, pictures, tmp_path):
    plan = complete(pictures, tmp_path / "out", loaded["continuous"], format=format, **FORMATS[format])
    before = contents(plan.folder)
    assert not [name for name in before if name.startswith(".")]
    for unit in range(3):
        encode_unit(plan.folder, unit, "cpu")
    assert contents(plan.folder) == before


def test_workers_share_the_units_and_help_each_other(planned, loaded):
    first = work(planned, loaded["continuous"], planned.open_source(), 0, 2)
    second = work(planned, loaded["continuous"], planned.open_source(), 1, 2)
    done = [next(first).unit, next(second).unit, next(first).unit]
    assert done == [0, 1, 2] and list(second) == list(first) == []
    assert is_complete(planned)


def test_a_unit_that_another_works_on_is_left_to_it(planned, loaded):
    with take_lease(planned.folder, 1):
        assert [record.unit for record in finished(planned, loaded)] == [0, 2]
    assert [record.unit for record in finished(planned, loaded)] == [1]


def test_leases_of_the_dead_are_taken(planned, monkeypatch):
    path = planned.folder / ".lease-00001"
    child = os.fork()
    if child == 0:
        take_lease(planned.folder, 1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.exists()
    with take_lease(planned.folder, 1):
        # It is this process's now, which is alive.
        assert take_lease(planned.folder, 1) is None
    assert not path.exists()
    # Of another machine, nobody can tell but by the time.
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1"}))
    assert take_lease(planned.folder, 1) is None
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - leases.STALE - 1))
    with take_lease(planned.folder, 1):
        assert path.exists()
    path.write_text("")  # killed before it wrote its name
    assert take_lease(planned.folder, 1) is None
    os.utime(path, (0, 0))
    with take_lease(planned.folder, 1):
        pass


def test_torn_sidecars_are_named_and_their_units_done_again(loaded, pictures, tmp_path):
    plan = complete(pictures, tmp_path / "out", loaded["continuous"])
    before = contents(plan.folder)
    sidecar, part = plan.files.sidecar(1), plan.files.part(1)
    text = sidecar.read_text()

    def cut_sidecar():
        sidecar.write_text(text[: len(text) // 2])

    def change_a_number():
        sidecar.write_text(text.replace('"rows": 4', '"rows": 3'))

    def empty_sidecar():
        sidecar.write_text("")

    def other_document():
        sidecar.write_text("[3]")

    def cut_part():
        part.write_bytes(part.read_bytes()[:-1])

    for damage in (cut_sidecar, change_a_number, empty_sidecar, other_document, cut_part, part.unlink):
        damage()
        with pytest.raises(TornSidecar, match="sidecar .*part-00001.json .*tokenize again"):
            plan.files.read(1)
        with pytest.raises(ValueError, match="tokenize again"):
            finish(plan)
        assert plan.missing() == [1] and not is_complete(plan)
        finished(plan, loaded)
        assert contents(plan.folder) == before


@pytest.mark.parametrize("where", ["write", "close", "fsync", "sidecar"])
def test_a_full_disk_is_said_and_leaves_nothing_half_written(where, planned, loaded, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if where in ("write", "close"):
            patch.setattr(ParquetPart, where, full)
        elif where == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match=r"No space left on device, at unit 0: '.*part-00000.parquet'"):
            finished(planned, loaded)
    left = {"plan.json", "part-00000.parquet"} if where == "sidecar" else {"plan.json"}
    assert set(contents(planned.folder)) == left
    finished(planned, loaded)
    assert is_complete(planned)


def test_a_full_disk_under_safetensors_is_said_too(loaded, pictures, tmp_path, monkeypatch):
    def full(*args, **options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    options = TokenizeOptions(format="safetensors", **FORMATS["safetensors"])
    plan = make_plan(str(pictures), tmp_path / "out", options, loaded["continuous"])
    monkeypatch.setattr(parts, "save_file", full)
    with pytest.raises(OSError, match="No space left on device .*at unit 0") as caught:
        finished(plan, loaded)
    assert caught.value.errno == errno.ENOSPC and set(contents(plan.folder)) == {"plan.json"}


def test_leases_are_renewed(planned, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.001)
    renewed = threading.Event()
    monkeypatch.setattr(os, "utime", lambda path: renewed.set())
    with take_lease(planned.folder, 0):
        assert renewed.wait(60)


def test_units_that_are_damaged_as_a_whole_do_not_stop_others(loaded, tmp_path):
    (tmp_path / "source").mkdir()
    source = write_tars(tmp_path / "source")
    data = (source / "0.tar").read_bytes()
    (source / "0.tar").write_bytes(data[: len(data) // 2 + 100])
    plan = make_plan(str(source), tmp_path / "out", TokenizeOptions(), loaded["continuous"])
    damaged, record = finished(plan, loaded)
    assert isinstance(damaged, DamagedUnit) and "unit 0: source: " in str(damaged) and "truncated" in str(damaged)
    assert record.unit == 1 and plan.missing() == [0]


def test_failures_and_warnings_are_recorded_with_reasons(loaded, tmp_path, monkeypatch):
    source = write_folder(tmp_path / "source")
    (source / "class1/bad.png").write_text("nothing")
    (source / "class1/empty.png").write_text("")
    plan = complete(source, tmp_path / "out", loaded["continuous"], unit_rows=100)
    record = plan.files.read(0)
    assert (record.rows, record.source_rows) == (10, 12)
    assert [failure["key"] for failure in record.failures] == ["class1/bad.png", "class1/empty.png"]
    assert "not an image" in record.failures[0]["error"] and "empty file" in record.failures[1]["error"]
    facts = json.loads((plan.folder / "statistics.json").read_text())
    assert facts["failures"] == 2 and sum(facts["reasons"].values()) == 2


def test_what_readers_warn_about_is_recorded(loaded, pictures, tmp_path, monkeypatch):
    from atoken.processing.media_warnings_atoken import warn_about_media
    from atoken.tokenizing import images

    read = images.read_picture

    def warn(data, label):
        warn_about_media(f"{label} is odd")
        return read(data, label)

    monkeypatch.setattr(images, "read_picture", warn)
    plan = complete(pictures, tmp_path / "out", loaded["continuous"], flip=True)
    assert [plan.files.read(unit).warnings["count"] for unit in range(3)] == [4, 4, 2]
    assert plan.files.read(0).warnings["first"][0].endswith("class0/000.png is odd")


def test_a_source_of_nothing_but_damage(loaded, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in "ab":
        (source / f"{name}.png").write_text("nothing")
    plan = complete(source, tmp_path / "out", loaded["continuous"])
    assert plan.files.read(0).rows == 0 and len(plan.files.read(0).failures) == 2
    assert pq.read_metadata(plan.files.part(0)).num_rows == 0


def test_units_and_shards_that_do_not_exist(planned, loaded):
    for unit in (-1, 3):
        with pytest.raises(ValueError, match=rf"unit must be in \[0, 3\), got {unit}"):
            encode_unit(planned, unit, loaded=loaded["continuous"])
    with pytest.raises(ValueError, match=r"shard must be in \[0, 2\), got 2"):
        finished(planned, loaded, shard=2, shards=2)


def test_a_worker_that_was_taken_for_dead_leaves_its_unit_to_the_other(planned, loaded, monkeypatch):
    close = ParquetPart.close

    def overtaken(part):
        close(part)
        monkeypatch.setattr(ParquetPart, "close", close)
        planned.files.sweep(0)

    monkeypatch.setattr(ParquetPart, "close", overtaken)
    assert [record.unit for record in finished(planned, loaded)] == [1, 2]
    assert [record.unit for record in finished(planned, loaded)] == [0]


def test_what_the_killed_have_left_is_swept(planned, loaded):
    for name in (".part-00001.abcd.parquet", ".clock.abcd", ".lease-00001.abcd"):
        (planned.folder / name).write_text("x")
    finished(planned, loaded)
    assert not [name for name in contents(planned.folder) if name.startswith(".")]


class Points:
    """Kills the process with the n-th call of something that a kill could fall on."""

    def __init__(self, monkeypatch, number):
        self.left = number
        for owner, name in ((os, "replace"), (os, "fsync"), (os, "open"), (ParquetPart, "write"), (UnitFiles, "sweep")):
            monkeypatch.setattr(owner, name, self.around(getattr(owner, name)))

    def around(self, function):
        def call(*args, **options):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return call


def test_killed_at_any_point_the_next_start_ends_with_the_same_bytes(loaded, pictures, tmp_path, monkeypatch):
    """Each worker dies at a later call than the one before, all on the same folder, until one lives to the end."""
    torch.set_num_threads(1)
    expected = contents(complete(pictures, tmp_path / "undisturbed", loaded["continuous"], unit_rows=2).folder)
    options = TokenizeOptions(unit_rows=2)
    plan = make_plan(str(pictures), tmp_path / "out", options, loaded["continuous"])
    source, kills = plan.open_source(), 0
    for number in range(1, 100):
        child = os.fork()
        if child == 0:
            with monkeypatch.context() as patch:
                # 1, 2, ... calls: of starts that find more and more done.
                Points(patch, 1 + number % 9)
                list(work(plan, loaded["continuous"], source))
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.waitstatus_to_exitcode(status) == 0:
            break
        kills += os.WIFSIGNALED(status)
    finish(plan)
    assert kills >= 10
    assert contents(plan.folder) == expected


def test_pictures_whose_bytes_are_equal_have_equal_tokens(loaded, tmp_path):
    (tmp_path / "source").mkdir()
    for name in "abc":
        (tmp_path / f"source/{name}.png").write_bytes(png_of(0))
    plan = complete(tmp_path / "source", tmp_path / "out", loaded["continuous"])
    latents = pq.read_table(plan.files.part(0))["latents"].to_pylist()
    assert latents[0] == latents[1] == latents[2]
