"""Whole trainings of both generators on a corpus of a dozen scenes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file

from atoken import AutoencoderAtoken
from atoken.generation import LightningDiTTransformer2DModel, TokenBridgeModel
from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.training.generators import train as program
from atoken.training.generators.building import build_generator, build_objective
from atoken.training.generators.drawn_samples import DrawnSamples
from atoken.training.generators.stage import GeneratorStage
from atoken.training.generators.token_batches import TokenBatches
from atoken.training.generators.train import main
from atoken.training.recipes.tiny_generators.scenes import CLASS_NAMES
from atoken.training.trainer import Trainer, TrainerSettings

KINDS = ("lightning-dit", "token-bridge")


def train(files, output: Path, **options) -> Path:
    options = {"class_names": files.class_names, "log_every": 1, **options}
    main(files.stage, files.tokens, str(files.tokenizer), output, **options)
    return output


def log(output: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in ("tokens per second", "minutes")} for line in lines]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model/diffusion_pytorch_model.safetensors")


def trainer_of(files, output: Path, hooks=(), batches=None) -> Trainer:
    """A trainer as the program makes it."""
    stage, corpus = GeneratorStage.read(files.stage), AtokenTokens(files.tokens)
    torch.manual_seed(0)
    model = build_generator(stage, corpus, AutoencoderAtoken.from_pretrained(files.tokenizer), CLASS_NAMES)
    settings = TrainerSettings(output, stage.steps, stage.optimizer, log_every=1)
    batches = batches or TokenBatches(corpus, stage.batch_size, 0)
    return Trainer(Accelerator(cpu=True), build_objective(model, stage, 0), batches, settings, hooks)


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory) -> dict[str, Path]:
    """Trainings of both kinds with a checkpoint in the middle."""
    root = tmp_path_factory.mktemp("whole")
    return {kind: train(files[kind], root / kind, save_every=3, keep=9) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls(kind, files, tmp_path):
    output = train(files[kind], tmp_path / "run", steps=40, in_memory=True, save_every=40)
    losses = [line["generation/loss"] for line in log(output)]
    assert len(losses) == 40
    # New noise and masks every step, so that single steps differ.
    assert sum(losses[-8:]) < 0.95 * sum(losses[:8])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_knows_corpus_and_tokenizer(kind, files, whole):
    model_class = LightningDiTTransformer2DModel if kind == "lightning-dit" else TokenBridgeModel
    config = model_class.from_pretrained(whole[kind] / "model").config
    vae, corpus = AutoencoderAtoken.from_pretrained(files[kind].tokenizer), AtokenTokens(files[kind].tokens)
    assert config.sample_size == 4 and list(config.id2label.values()) == list(CLASS_NAMES)
    assert config.vae_latents_mean == list(vae.config.latents_mean)
    if kind == "lightning-dit":
        assert config.latents_mean == corpus.mean.tolist() and config.latents_std == corpus.std.tolist()
    else:
        assert (config.num_codes, config.codebook_size) == (vae.quantizer.num_codebooks, vae.quantizer.codebook_size)


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_resumed_equals_uninterrupted(kind, in_memory, files, whole, tmp_path):
    torch.manual_seed(99)  # nothing may hang on the numbers that a process happens to begin with
    checkpoint = whole[kind] / "checkpoint-00000003"
    output = train(files[kind], tmp_path / "run", resume=str(checkpoint), in_memory=in_memory)
    assert log(output) == log(whole[kind])[3:]
    expected, found = weights(whole[kind]), weights(output)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("kind", KINDS)
def test_averages_begin_as_a_copy(kind, files, tmp_path):
    trainer = trainer_of(files[kind], tmp_path)
    before = {name: value.detach().clone() for name, value in trainer.objective.named_parameters()}
    trainer.step(next(trainer.batches))
    trainer.batches.close()
    changed = 0
    for name, parameter in trainer.objective.named_parameters():
        if parameter.requires_grad:
            expected = 0.9 * before[name].double() + 0.1 * parameter.detach().double()
            torch.testing.assert_close(trainer.average.values[name].double(), expected, rtol=1e-6, atol=1e-7)
            changed += not torch.equal(parameter.detach(), before[name])
    assert changed > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_not_finite_reaches_neither_weights_nor_averages(kind, files, tmp_path):
    trainer = trainer_of(files[kind], tmp_path)
    batch = next(trainer.batches)
    trainer.step(batch)
    with torch.no_grad():
        held = {name: value.clone() for name, value in trainer.objective.named_parameters()}
        average = {name: value.clone() for name, value in trainer.average.values.items()}
    bad = trainer.objective.register_forward_hook(
        lambda module, given, found: {**found, "loss": found["loss"] * torch.nan} if isinstance(found, dict) else found
    )
    trainer.step(next(trainer.batches))
    bad.remove()
    trainer.batches.close()
    for name, parameter in trainer.objective.named_parameters():
        assert torch.equal(parameter, held[name]), name
    for name, value in trainer.average.values.items():
        # Towards the weights, which are what they were.
        expected = 0.9 * average[name].double() + 0.1 * held[name].double()
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_drawn_of_the_averages_and_change_nothing(kind, files, tmp_path):
    vae, seen = AutoencoderAtoken.from_pretrained(files[kind].tokenizer), []
    trainer = trainer_of(files[kind], tmp_path)
    model = trainer.bare_objective.model
    hook = DrawnSamples(model, vae, every=2)
    model.register_forward_pre_hook(lambda *_: seen.append(next(model.parameters()).detach().clone()))
    trainer.hooks = (hook,)
    trainer.run()
    trainer.batches.close()
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [f"{step:08d}.png" for step in (2, 4, 6)]
    assert Image.open(tmp_path / "samples/00000002.png").size == (4 * 64, 4 * 64)
    plain = trainer_of(files[kind], tmp_path / "plain")
    plain.run()
    plain.batches.close()
    expected, found = weights(tmp_path / "plain"), weights(tmp_path)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_no_samples_are_drawn_by_one_process_of_a_model_that_is_spread_over_several(files, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "spreads_weights", lambda accelerator: True)
    with pytest.raises(ValueError, match="draw_every must be left out where weights are spread .*, got 2; use whole"):
        train(files["token-bridge"], tmp_path, draw_every=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("generator", "of", "message"),
    [
        ("lightning-dit", "token-bridge", "corpus must hold latents and a kept label for lightning-dit, got codes"),
        ("token-bridge", "lightning-dit", "corpus must hold codes and a kept label for token-bridge, got key, label"),
    ],
)
def test_corpora_that_do_not_fit(generator, of, message, files):
    stage, corpus = GeneratorStage.read(files[generator].stage), AtokenTokens(files[of].tokens)
    with pytest.raises(ValueError, match=message):
        build_generator(stage, corpus, AutoencoderAtoken.from_pretrained(files[of].tokenizer))


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_begins_with_weights_that_are_given(kind, files, whole, tmp_path):
    stage = yaml.safe_load(files[kind].stage.read_text())
    stage["optimizer"] = {"rate": 1e-30, "final_rate": 0.0, "weight_decay": 0.0, "average": 0.0}
    still = tmp_path / "still.yaml"
    still.write_text(yaml.safe_dump(stage))
    output = train(replace(files[kind], stage=still), tmp_path / "run", steps=1, init_from=whole[kind] / "model")
    expected, found = weights(whole[kind]), weights(output)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    stage["model"] |= {"num_layers": 2} if kind == "lightning-dit" else {"encoder_num_layers": 2}
    still.write_text(yaml.safe_dump(stage))
    with pytest.raises(ValueError, match="init_from must be the folder of a .* of the stage's sizes"):
        train(replace(files[kind], stage=still), tmp_path / "other", init_from=whole[kind] / "model")


def test_a_tokenizer_that_did_not_write_the_corpus(files):
    stage, corpus = GeneratorStage.read(files["token-bridge"].stage), AtokenTokens(files["token-bridge"].tokens)
    other = AutoencoderAtoken.from_pretrained(files["lightning-dit"].tokenizer)
    with pytest.raises(ValueError, match="tokenizer must have the corpus's .* codes of each token"):
        build_generator(stage, corpus, other)
