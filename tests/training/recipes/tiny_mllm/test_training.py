"""Stored features, the bound in time and the curve of the tiny model."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from atoken.training.mllm.collator import ConversationCollator
from atoken.training.recipes.tiny_mllm import training, watching
from atoken.training.recipes.tiny_mllm.held_out import MEASURES
from atoken.training.recipes.tiny_mllm.measuring import ask_all, ask_blind, chance, share_right
from atoken.training.recipes.tiny_mllm.subjects import subject_of
from atoken.training.recipes.tiny_mllm.time_bound import TimeBound, rate_at


def test_stored_features_are_those_that_the_model_makes(parts, features):
    model, processor = parts
    subject = subject_of("clips", 0)
    inputs = processor.video_processor([subject.draw()[0]], return_tensors="pt")
    with torch.no_grad():
        made = model.get_video_features(**inputs).pooler_output[0]
        stored = model.model.multi_modal_projector.pooled_tokens([], [features.video(subject.names[0])])[1][0]
    assert torch.allclose(made, stored, atol=1e-5)
    assert subject_of("pairs", 1).names == ("pairs-1-0", "pairs-1-1")
    assert features.image("pairs-1-1").shape == (4, 4, 192)


def test_the_curve_counts_what_generation_would_have_right(parts, features, monkeypatch):
    monkeypatch.setattr(watching, "COUNT", 4)
    monkeypatch.setattr(watching, "SEED", 0)  # as the measurement
    model, processor = parts
    rows = watching.watched_rows(features, model, processor, ("image",))
    assert set(rows) == {measure.name for measure in MEASURES if measure.medium == "image"}
    shares = watching.shares_right(model, ConversationCollator(processor, features), rows)
    measure = MEASURES[0]
    assert shares[measure.name] == share_right(ask_all(model, processor, measure, 4))
    answered = ask_all(model, processor, measure, 4)
    assert chance(answered) == 1 / 8 and 0 <= ask_blind(model, processor, measure, 4) <= 1


def test_the_rate_rises_and_falls_with_the_time():
    assert rate_at(0.0, 0.1) == pytest.approx(0.01) and rate_at(0.05, 0.1) == pytest.approx(0.5)
    assert rate_at(0.1, 0.1) == 1 and rate_at(1.0, 0.1) == 0 and rate_at(2.0, 0.1) == 0
    assert rate_at(0.55, 0.1) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


class StoppedWhileSaving:
    """Stands in for a trainer: notes where it goes on from, and is stopped while it writes the model."""

    def __init__(self, stops: bool):
        self.stops, self.began_at, self.state = stops, [], SimpleNamespace(log_history=[])

    def train(self, resume_from_checkpoint: str | None) -> None:
        self.began_at.append(resume_from_checkpoint)

    def save_model(self, folder: str) -> None:
        (Path(folder) / "model.safetensors").write_text("half")
        if self.stops:
            raise KeyboardInterrupt


def test_a_stopped_stage_goes_on_from_a_whole_checkpoint_and_is_done_with_a_whole_model(parts, tmp_path, monkeypatch):
    start, out = tmp_path / "start", tmp_path / "out"
    for each in parts:
        each.save_pretrained(start)
    for step, state in ((2, "{}"), (10, None)):  # killed while it wrote the second one
        (out / f"checkpoint-{step}").mkdir(parents=True)
        if state is not None:
            (out / f"checkpoint-{step}/trainer_state.json").write_text(state)
    monkeypatch.setattr(training, "conversations", lambda *_: [])
    monkeypatch.setattr(training, "watched_rows", lambda *_: {})
    stopped, whole, never = StoppedWhileSaving(True), StoppedWhileSaving(False), StoppedWhileSaving(False)
    for trainer in (stopped, whole, never):
        monkeypatch.setattr(training, "build_trainer", lambda *_, trainer=trainer: trainer)
        try:
            training.train_part(training.PARTS[0], start, out, {"pictures": 1}, None, 1.0)
        except KeyboardInterrupt:
            assert trainer is stopped and not (out / "model").exists()
    assert stopped.began_at == whole.began_at == [str(out / "checkpoint-2")] and never.began_at == []
    assert {"model.safetensors", "processor_config.json"} <= {path.name for path in (out / "model").iterdir()}


def test_time_before_an_interruption_counts(tmp_path):
    path = tmp_path / "time.json"
    clock = TimeBound(2.0, 1e-3, path)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}])
    control = SimpleNamespace(should_training_stop=False, should_save=False)
    clock.on_train_begin(None, None, control)
    clock.on_step_begin(None, None, control, optimizer=optimizer)
    assert 0 < optimizer.param_groups[0]["lr"] < 1e-3
    clock.on_step_end(None, None, control)
    assert not control.should_training_stop
    clock.on_save(None, SimpleNamespace(global_step=3), control)
    assert json.loads(path.read_text())["step"] == 3
    path.write_text(json.dumps({"minutes": 2.0}))
    TimeBound(2.0, 1e-3, path).on_step_end(None, None, control)
    assert control.should_training_stop and control.should_save
