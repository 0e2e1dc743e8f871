"""Ways to run the trainer: trackers, validation in between, less memory, lower precision, compiled blocks."""

import json
import shutil

import pytest
import yaml

from atoken import AtokenModel
from atoken.evaluation.runner import evaluate
from atoken.training.tokenizer.validation import validate_exports

from ..stage_samples import make_start, write_data, write_photos, write_stage
from . import trainer_runs
from .trainer_runs import losses, train, weights

STEPS = 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    return {
        "stage": write_stage(folder / "stage.yaml", steps=STEPS),
        "data": write_data(folder),
        "start": make_start(folder / "start"),
    }


@pytest.fixture(scope="module")
def plain(files, tmp_path_factory):
    """Runs without options."""
    output = tmp_path_factory.mktemp("plain")
    train(files, output)
    return output


@pytest.fixture
def validation(tmp_path):
    values = {
        "title": "validation",
        "sets": {"photos": {"set": "image-folder", "folder": str(write_photos(tmp_path / "held out")), "size": 32}},
        "tokenizers": {"media": {"adapter": "atoken", "model": "MODEL"}},
    }
    path = tmp_path / "validation.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_exports_are_measured_by_a_job_of_their_own(files, plain, validation, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = tmp_path / "run"
    train(files, output, "--export-every", "3", "--tracker", "tensorboard")
    assert losses(output) == losses(plain)  # looking on changes nothing
    assert sorted(path.name for path in (output / "exports").iterdir()) == ["00000003", "00000004"]
    assert validate_exports(validation, output, tensorboard=True, remove=True) == [3, 4]
    assert validate_exports(validation, output) == [] and not list((output / "exports").iterdir())
    lines = [json.loads(line) for line in (output / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 4] and lines[0]["photos/psnr"] != lines[1]["photos/psnr"]
    # The last line is what the harness says of the final weights.
    by_hand = tmp_path / "by hand.yaml"
    by_hand.write_text(validation.read_text().replace("MODEL", str(output / "model")))
    (result,) = evaluate(by_hand, tmp_path / "by hand").results
    assert lines[1]["photos/psnr"] == result.numbers["psnr"]
    (events,) = (path for path in output.rglob("atoken/events.out.*"))
    shown = EventAccumulator(str(events))
    shown.Reload()
    assert {"image_understanding/loss", "tokens per second", "learning rate"} <= set(shown.Tags()["scalars"])
    assert [point.step for point in shown.Scalars("image_understanding/loss")] == [1, 2, 3, 4]
    shown = EventAccumulator(str(output / "validation"))
    shown.Reload()
    assert shown.Tags()["images"] == ["photos"]


def test_trackio_takes_the_same_numbers(files, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setitem(trainer_runs.ENVIRONMENT, "TRACKIO_DIR", str(tmp_path / "trackio"))
    train(files, tmp_path / "run", "--tracker", "trackio")
    assert list((tmp_path / "trackio").glob("atoken*.db"))


def test_gradient_checkpointing_changes_nothing(files, plain, tmp_path):
    train(files, tmp_path, "--gradient-checkpointing")
    for found, expected in zip(losses(tmp_path), losses(plain), strict=True):
        assert found == pytest.approx(expected, rel=1e-5)


def test_bf16_trains_float32_weights(files, plain, tmp_path, monkeypatch):
    monkeypatch.setitem(trainer_runs.ENVIRONMENT, "ACCELERATE_MIXED_PRECISION", "bf16")
    train(files, tmp_path)
    found, expected = losses(tmp_path), losses(plain)
    assert found != expected
    for one, other in zip(found, expected, strict=True):
        # bfloat16 has 8 bits: rounding errors of 0.4 %.
        names = [name for name in other if name.endswith("/loss")]
        assert [one[name] for name in names] == pytest.approx([other[name] for name in names], rel=2e-2)
    before = AtokenModel.from_pretrained(files["start"]).state_dict()
    after = weights(tmp_path)
    assert {str(value.dtype) for value in after.values()} == {"torch.float32"}
    moved = after["decoder.out_layer.weight"] - before["decoder.out_layer.weight"]
    # Steps far below bfloat16's resolution arrive.
    assert (moved != 0).float().mean() > 0.9


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_blocks_train_alike(files, tmp_path):
    short = {**files, "stage": write_stage(tmp_path / "stage.yaml", steps=2, ratios={"image_reconstruction": 1})}
    train(short, tmp_path / "plain")
    train(short, tmp_path / "compiled", "--compile")
    for found, expected in zip(losses(tmp_path / "compiled"), losses(tmp_path / "plain"), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
    assert set(weights(tmp_path / "compiled")) == set(weights(tmp_path / "plain"))
