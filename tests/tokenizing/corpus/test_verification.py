"""Verifying a corpus: one in order passes, and every kind of damage is found and named."""

import json
import shutil

import pytest
from PIL import Image

from atoken.tokenizing.corpus.verification import compare_with_originals, verify

from ...processing.samples import photo
from .samples import complete, name_of, write_folder


@pytest.fixture
def corpus(loaded, tmp_path):
    source = write_folder(tmp_path / "source")
    return source, complete(source, tmp_path / "out", loaded["continuous"], flip=True)


def test_a_corpus_in_order(corpus, loaded):
    _, plan = corpus
    found = verify(plan)
    assert found.problems == [] and (found.units, found.rows, found.failures) == (3, 20, 0)
    compare_with_originals(plan, loaded["continuous"], plan.open_source(), 6, found)
    assert found.problems == [] and len(found.decoded) == 6
    assert {check.flipped for check in found.decoded} == {False, True}
    assert all(check.difference < 0.01 and check.psnr > 3 for check in found.decoded)
    assert json.dumps(found.as_json())


def test_codes(loaded, tmp_path):
    plan = complete(write_folder(tmp_path / "source"), tmp_path / "out", loaded["discrete"], content="codes")
    found = verify(plan)
    compare_with_originals(plan, loaded["discrete"], plan.open_source(), 3, found)
    assert found.problems == [] and len(found.decoded) == 3


@pytest.mark.parametrize("format", ["parquet", "webdataset", "safetensors"])
def test_damage_is_found_in_every_format(format, loaded, pictures, tmp_path):
    options = {"size": 32, "flip": True, "keep": {"label": "label"}} if format == "safetensors" else {}
    plan = complete(pictures, tmp_path / "out", loaded["continuous"], format=format, **options)
    assert verify(plan).problems == []
    part = plan.files.part(1)
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    (problem,) = verify(plan).problems
    assert "another checksum" in problem and part.name in problem


def test_what_is_missing_or_too_much_is_found(corpus):
    _, plan = corpus
    plan.files.sidecar(0).unlink()
    sidecar = plan.files.sidecar(1)
    sidecar.write_text(sidecar.read_text()[:99])
    shutil.copy(plan.files.part(2), plan.folder / "part-00007.parquet")
    problems = verify(plan).problems
    assert "unit 0 is not done" in problems[0] and "is not whole" in problems[1]
    assert "part-00007.parquet belongs to no unit" in problems[2] and len(problems) == 3


def test_rows_that_are_missing_are_found(corpus):
    """Committed with a right checksum, but fewer rows than the source has."""
    _, plan = corpus
    record = plan.files.read(2)
    record.source_rows -= 1
    with plan.files.new_part(2) as temporary:
        shutil.copy(plan.files.part(2), temporary)
        plan.files.commit(temporary, record)
    problems = verify(plan).problems
    assert any("made from 1 rows, but the plan has 2" in problem for problem in problems)
    assert any("should have 2 rows by its sidecar, which says 4" in problem for problem in problems)


def test_originals_that_have_changed_are_found(corpus, loaded):
    source, plan = corpus
    Image.fromarray(photo(64, 48, seed=99)).save(source / f"{name_of(0)}.png")
    (source / f"{name_of(9)}.png").write_text("gone")
    found = verify(plan)
    compare_with_originals(plan, loaded["continuous"], plan.open_source(), 20, found)
    assert len(found.problems) == 2
    for index, problem in zip((0, 9), found.problems, strict=True):
        assert name_of(index) in problem and "differ from those of its original" in problem
