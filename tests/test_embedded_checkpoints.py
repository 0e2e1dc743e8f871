"""The checkpoints in the source tree: they load, do what their records say, and the quickstart runs on them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atoken import AtokenModel
from atoken.evaluation.sets.miniature_sets import miniature_classification
from atoken.processing import AtokenProcessor
from atoken.training.recipes.tiny.release import tables_of

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = {"atoken-tiny": None, "atoken-tiny-d": 8}  # codes of a token


def record_of(name: str) -> dict:
    return json.loads((ROOT / "checkpoints" / name / "training.json").read_text())


@pytest.mark.parametrize(("name", "stages"), [("atoken-tiny", "3"), ("atoken-tiny-d", "4")])
def test_files_are_small_and_recorded(name, stages):
    folder = ROOT / "checkpoints" / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    record = record_of(name)
    assert {"command", "data", "steps", "torch", "protocol", "held_out", "stages", "curve"} <= record.keys()
    assert [*record["steps"]] == [*record["stages"]] == [*record["curve"]] == [*stages]
    model = AtokenModel.from_pretrained(folder)
    assert model.dtype == torch.bfloat16 and model.config.weights_license == "apache-2.0"
    assert len(model.config.latents_mean) == len(model.config.latents_std) == 48


def test_stages_gain_media_and_keep_images():
    record = record_of("atoken-tiny")
    third, begun = record["stages"]["3"], record
    while "before" in begun:  # runs that went on from weights with a record of their own
        begun = begun["before"]
    first, second, before = (begun["stages"][stage] for stage in "123")
    assert third["photos 256/psnr"] > before["photos 256/psnr"] and third["clips/psnr"] > before["clips/psnr"]
    assert third["photos 256/psnr"] >= second["photos 256/psnr"] >= first["photos 256/psnr"]
    assert second["clips/psnr"] > first["clips/psnr"]
    assert all(third[f"image {what}/top1"] >= 0.8 for what in ("shape", "colour", "pair"))
    assert all(
        third[f"{what}/top1"] >= 0.6 for what in ("video motion", "object shape", "object colour", "object pair")
    )


def test_the_page_shows_what_the_record_says():
    shown = set((ROOT / "docs/curriculum.md").read_text().splitlines())
    records = [record_of(name) for name in CHECKPOINTS]
    records += [record["before"] for record in records]  # that decoders went on from
    tables = [tables_of(record["stages"]) for record in records]
    rows = [line for table in tables for line in table.splitlines() if line[2:3].isdigit()]
    assert len(rows) >= 16 and set(rows) <= shown


def figures(record: dict) -> dict[str, str]:
    """What pages say of held-out media: PSNR / SSIM by the record's names of sets. Test sets are in the stage table."""
    shown = {of: found for of, found in record["held_out"].items() if not of.startswith("test")}
    return {of: f"{found['psnr']:.2f} / {found['ssim']:.3f}" for of, found in shown.items()}


@pytest.mark.parametrize("page", ["README.md", "docs/results.md", "checkpoints/{name}/README.md"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_figure_on_a_page_is_of_the_record(name, page):
    text = (ROOT / page.format(name=name)).read_text().replace(" dB / ", " / ")
    wanted = figures(record_of(name))
    if page == "README.md":
        wanted.pop("photos_512")  # the README leaves them out
    assert [of for of, figure in wanted.items() if figure not in text] == []


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize(("kind", "attribute", "least"), [("image", "colour shape", 0.8), ("video", "motion", 0.6)])
def test_combinations_that_no_training_showed_are_named(name, kind, attribute, least):
    folder = ROOT / "checkpoints" / name
    model = AtokenModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AtokenProcessor.from_pretrained(folder)
    chosen = miniature_classification(kind, attribute, count=64, seed=1)
    inputs = processor(
        **{f"{kind}s": [sample.load()[0] if kind == "image" else sample.load() for sample in chosen.samples]},
        text=[chosen.templates[0].format(each) for each in chosen.class_names],
    )
    with torch.no_grad():
        logits = model(**inputs).logits_per_image
    labels = torch.tensor([sample.label for sample in chosen.samples])
    assert float((logits.argmax(1) == labels).float().mean()) >= least


def test_no_row_of_a_matrix_is_all_zeros():
    """Checks what float8 needs, as it scales each row by its largest value."""
    for name in CHECKPOINTS:
        weights = load_file(ROOT / "checkpoints" / name / "model.safetensors")
        dead = {key: int((value == 0).all(1).sum()) for key, value in weights.items() if value.ndim == 2}
        assert sum(dead.values()) == 0, dead


def round_trip(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A held-out photo and what comes back of it, (3, H, W) in [0, 1]."""
    folder = ROOT / "checkpoints" / name
    model = AtokenModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AtokenProcessor.from_pretrained(folder)
    inputs = processor(images=[ROOT / "examples/media/cat.jpg"])
    with torch.no_grad():
        encoded = model.encode(inputs.pixel_values, inputs.coords, inputs.cu_seqlens)
        packing = (inputs.coords, inputs.cu_seqlens)
        if CHECKPOINTS[name]:
            assert encoded.codes.shape == (encoded.latents.shape[0], CHECKPOINTS[name])
            decoded = model.decode(codes=encoded.codes, coords=packing[0], cu_seqlens=packing[1])
        else:
            assert encoded.codes is None
            decoded = model.decode(encoded.latents, *packing)
    (image,) = processor.post_process(decoded.pixel_values, *packing, inputs.media_sizes)
    (original,) = processor.post_process(inputs.pixel_values, *packing, inputs.media_sizes)
    return original, image


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_held_out_photo_comes_back(name):
    original, image = round_trip(name)
    assert image.shape == original.shape == (3, 300, 451)
    assert float((image - original).square().mean()) < float(original.var()) / 20


@pytest.mark.parametrize(
    ("name", "least"),
    [("atoken-tiny", 32.8), ("atoken-tiny-d", 29.9)],
)
def test_a_held_out_photo_comes_back_as_well_as_by_a_model_of_pixels_alone(name, least):
    original, image = round_trip(name)
    assert float(-10 * torch.log10((image - original).square().mean())) > least


def test_quickstart_runs():
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples/quickstart.py")], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    assert "unexpected" not in result.stderr  # no warning of transformers about what nobody can change
    assert "photo back: (3, 300, 451)  clip back: (33, 3, 240, 320)" in result.stdout
