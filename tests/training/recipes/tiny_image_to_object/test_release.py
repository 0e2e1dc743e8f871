"""What is released of a tiny generator: a pipeline's folder, its record and its card."""

import json

import pytest
import torch
import yaml
from safetensors import safe_open

from atoken.evaluation.models.object_generator_loading import load_object_generator
from atoken.generation import SparseStructureAutoencoder, SparseStructureFlowModel, StructuredLatentFlowModel
from atoken.training.generators.image_to_object.stage import ObjectStage
from atoken.training.recipes.tiny_image_to_object.card import card_of
from atoken.training.recipes.tiny_image_to_object.one_object import cost_of_an_object
from atoken.training.recipes.tiny_image_to_object.parts import PARTS, STAGES, TRAININGS
from atoken.training.recipes.tiny_image_to_object.release import record_of, release
from atoken.training.recipes.tiny_image_to_object.sweep import BASE, FACTORS, plot, sweep_cases, table_of

from ....generation.object_helpers import object_pipeline, picture

MEASURED = {
    "generated": {"iou": 0.61234, "psnr": 21.5, "color": 12.25},
    "ceiling": {"iou": 1.0, "psnr": 27.25, "color": 3.5},
}
FACTS = {
    "command": "run OUT",
    "data": "3 solids",
    "protocol": "One picture of each",
    "structure_vae_iou": 0.87654,
    "seconds_of_an_object": 12.5,
    "process_of_an_object": {"seconds": 29.6, "peak_memory_mb": 1234},
}


@pytest.fixture
def released(tmp_path):
    """A released pipeline beside its tokenizer, and logs of its trainings."""
    pipeline = object_pipeline()
    pipeline.vae.save_pretrained(tmp_path / "released/tokenizer")
    release(pipeline, "tokenizer", tmp_path / "released/tiny")
    for part in TRAININGS:
        run = tmp_path / "runs" / part.name
        run.mkdir(parents=True)
        lines = [
            {"step": step, "generation/loss": 1 / step, "minutes": step / 10, "epochs": step / 4, "skipped steps": 0}
            for step in range(1, 101)
        ]
        (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_folder_of_bf16_with_a_link_to_the_tokenizer(released):
    folder = released / "released/tiny"
    assert (folder / "vae").is_symlink() and (folder / "vae").resolve() == (released / "released/tokenizer").resolve()
    for part in PARTS:
        with safe_open(folder / part.name / "diffusion_pytorch_model.safetensors", framework="pt") as file:
            assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}
        assert "_name_or_path" not in json.loads((folder / part.name / "config.json").read_text())
    pipeline, name = load_object_generator(str(folder), "cpu")
    assert name == str(folder)
    made = pipeline(picture(), generator=torch.Generator().manual_seed(0))
    assert len(made.gaussians) == 1 and len(made.coords) > 0


def test_record_and_card_say_the_same(released):
    record = record_of(released, released / "released/tiny", MEASURED, FACTS)
    assert record["measured"]["generated"]["iou"] == 0.6123
    assert record["trainings"].keys() == {part.name for part in TRAININGS}
    crops, whole = (record["trainings"][name] for name in ("structure_vae_crops", "structure_vae"))
    assert crops["weights"] == whole["weights"] and crops["stage"]["model"] == whole["stage"]["model"]
    training = record["trainings"]["latent_transformer"]
    expected = sum(value.numel() for value in object_pipeline().latent_transformer.parameters())
    assert (training["weights"], training["steps"], training["minutes"]) == (expected, 100, 10.0)
    assert training["curve"][0] == {"step": 1, "loss": 1.0} and training["curve"][-1]["step"] == 100
    assert training["stage"] == yaml.safe_load((STAGES / "structured-latent-flow.yaml").read_text())
    card = card_of(record)
    assert "| generated | 0.612 | 21.50 | 12.2 |" in card and "| ceiling | 1.000 | 27.25 | 3.5 |" in card
    assert (
        "12.5 s" in card
        and "one 30 s and at most\n1,234 MB" in card
        and "run OUT" in card
        and "{" not in card.replace("{name}", "")
    )


def test_an_object_costs_a_process_time_and_memory(released):
    picture().save(released / "picture.png")
    found = cost_of_an_object(released / "released/tiny", released / "picture.png")
    # torch alone takes more than the lower bound.
    assert found["seconds"] > 0 and 50 < found["peak_memory_mb"] < 20_000


def test_shares_of_time_are_whole():
    assert sum(part.share for part in TRAININGS) == pytest.approx(1.0)


def test_all_parts_together_have_at_most_12_megabytes():
    vae, structure, latents = (ObjectStage.read(STAGES / f"{part.stage}.yaml") for part in PARTS)
    with torch.device("meta"):
        models = [
            SparseStructureAutoencoder(**vae.model),
            SparseStructureFlowModel.from_preset(structure.preset, **structure.model),
            StructuredLatentFlowModel.from_preset(latents.preset, **latents.model),
        ]
    weights = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    assert 2 * sum(weights) < 11.9e6, weights  # in bf16, and some for configurations


def test_the_sweep_changes_one_setting_at_a_time():
    cases = sweep_cases()
    assert len(cases) == sum(map(len, FACTORS.values()))
    for factor, setting, sampling in cases:
        changed = {name for name in BASE if sampling[name] != BASE[name]}
        assert changed <= {factor} and sampling[factor] == json.loads(setting)
    assert all(sum(sampling == BASE for name, _, sampling in cases if name == factor) == 1 for factor in FACTORS)


def test_a_sweep_is_a_table_and_a_plot(tmp_path):
    found = {
        "shift": {"3.0": {"color": 10.04, "psnr": 20.0, "iou": 0.5}, "5.0": {"color": 9.0, "psnr": 20.126, "iou": 0.5}},
        "times": {"uniform": {"color": 8.0, "psnr": 19.0, "iou": 0.5}},
    }
    assert "| shift | 5.0 | 9.0 | 20.13 |" in table_of(found)
    plot(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"
