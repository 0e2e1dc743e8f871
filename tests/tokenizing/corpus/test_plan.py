"""Plans: the same is gone on with, another is refused and what differs is said."""

import json
from dataclasses import replace

import pytest

from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import load_planned_model, make_plan, read_plan

from ...cli_samples import save_model
from .samples import contents, png_of, write_folder, write_tars

OPTIONS = TokenizeOptions(unit_rows=4, keep={"caption": "caption"})


@pytest.fixture
def planned(loaded, tmp_path):
    source = write_folder(tmp_path / "source")
    return source, make_plan(str(source), tmp_path / "out", OPTIONS, loaded["continuous"])


def test_an_equal_plan_is_gone_on_with(planned, loaded):
    source, plan = planned
    before = contents(plan.folder)
    again = make_plan(str(source), plan.folder, OPTIONS, loaded["continuous"])
    assert again == plan == read_plan(plan.folder) and contents(plan.folder) == before
    assert [unit["rows"] for unit in plan.units] == [4, 4, 2] and plan.missing() == [0, 1, 2]
    assert load_planned_model(plan, "cpu").fingerprint == loaded["continuous"].fingerprint


def test_changed_options_models_and_sources_are_refused(planned, loaded, tmp_path):
    source, plan = planned
    with pytest.raises(ValueError, match="another: options.size: None became 32.*Choose another folder"):
        make_plan(str(source), plan.folder, replace(OPTIONS, size=32), loaded["continuous"])
    with pytest.raises(ValueError, match="options.unit_rows: 4 became 2; units: 3 became 5"):
        make_plan(str(source), plan.folder, replace(OPTIONS, unit_rows=2), loaded["continuous"])
    with pytest.raises(ValueError, match="with another: model.codebooks: None became 2; model.encoder: "):
        make_plan(str(source), plan.folder, OPTIONS, loaded["discrete"])
    (source / "class0/new.png").write_bytes(png_of(0))
    with pytest.raises(ValueError, match="source.digest: .*source.rows: 10 became 11"):
        make_plan(str(source), plan.folder, OPTIONS, loaded["continuous"])
    (source / "class0/new.png").unlink()
    facts = json.loads((plan.folder / "plan.json").read_text())
    facts["packages"]["torch"] = "1.0"
    (plan.folder / "plan.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"packages.torch: '1.0' became"):
        make_plan(str(source), plan.folder, OPTIONS, loaded["continuous"])


def test_a_model_that_has_changed_is_refused(planned, tmp_path, loaded):
    source, _ = planned
    save_model(tmp_path / "model", seed=3)
    from atoken.tokenizing.loading import load_model

    plan = make_plan(str(source), tmp_path / "second", OPTIONS, load_model(str(tmp_path / "model"), "cpu", "float32"))
    save_model(tmp_path / "model", seed=4)
    with pytest.raises(ValueError, match="model must be that of the plan of .*model.encoder: "):
        load_planned_model(plan, "cpu")


def test_a_shard_that_has_changed_is_refused(loaded, tmp_path):
    (tmp_path / "source").mkdir()
    plan = make_plan(str(write_tars(tmp_path / "source")), tmp_path / "out", TokenizeOptions(), loaded["continuous"])
    source = plan.open_source()
    path = tmp_path / "source/1.tar"
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(ValueError, match="1.tar must have .* bytes, as when the plan was made, got"):
        next(source.rows(plan.units[1]))


def test_folders_that_hold_something_else(loaded, pictures, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="must be a new folder or that of a corpus, got .* with notes.txt"):
        make_plan(str(pictures), tmp_path, OPTIONS, loaded["continuous"])
    with pytest.raises(FileNotFoundError, match="must hold a corpus, got .*, which has no plan.json"):
        read_plan(tmp_path)
    (tmp_path / "plan.json").write_text('{"version": "1", "so')
    with pytest.raises(ValueError, match="plan.json is damaged"):
        read_plan(tmp_path)
    (tmp_path / "plan.json").write_text('{"version": "7"}')
    with pytest.raises(ValueError, match="must hold a corpus of version 1, got 7"):
        read_plan(tmp_path)
