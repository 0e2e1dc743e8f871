"""The four stages of the paper as they are shipped, one after another, on a model and shares that fit a CPU."""

import json

import pytest
import yaml
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from atoken import AtokenModel

from ..stage_samples import write_data
from .siglip2_samples import write_siglip2
from .slurm_on_cpu import ROOT, run_slurm_job

STAGES = ROOT / "training/tokenizer/stages"
SMALLER = 4096  # one of 256 processes would have 16 times as much


def shrink(number: int, folder, smaller: int = SMALLER):
    """Writes a stage of the paper with smaller steps and a smaller Gaussian decoder."""
    values = yaml.safe_load((STAGES / f"so400m-{number}.yaml").read_text())

    def share(size: int) -> int:
        return max(2, size // smaller)

    for task, size in values["batch_sizes"].items():
        values["batch_sizes"][task] = [share(each) for each in size] if isinstance(size, list) else share(size)
    values["step_tokens"] = share(values["step_tokens"])
    if "gaussian" in values:
        values["gaussian"] |= {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        values["gaussian"]["num_attention_heads"] = 2
    path = folder / f"stage-{number}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run_stages(folder, data, losses: str, smaller: int = SMALLER) -> list[dict[str, float]]:
    """Runs three steps of every stage, from SigLIP 2's towers on, and gives the newest numbers of each log."""
    siglip2, clip = write_siglip2(folder / "siglip2", width=64), folder / "clip"
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPVisionConfig(**tower, image_size=32, patch_size=16, projection_dim=8)
    CLIPVisionModelWithProjection(config).save_pretrained(clip)
    CLIPImageProcessor().save_pretrained(clip)
    start, last = siglip2, []
    for number in (1, 2, 3, 4):
        output = folder / f"runs/{number}"
        options = ["--init-from", str(start), "--teacher", str(siglip2), "--output", str(output), "--steps", "3"]
        options += ["--losses", losses, "--clip", str(clip), "--workers", "1", "--log-every", "1"]
        printed = run_slurm_job(folder, str(shrink(number, folder, smaller)), "--data", str(data), *options)
        assert "memory: " in printed
        lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3] and lines[-1]["skipped steps"] == 0
        last.append({name: value for line in lines for name, value in line.items()})
        start = output / "model"
    return last


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    # Without VGG, which takes a CPU minutes in bfloat16.
    return folder, run_stages(folder, write_data(folder), "l1,clip")


def test_every_stage_trains_its_tasks_from_siglip2_to_codes_and_gaussians(runs):
    folder, last = runs
    models = [AtokenModel.from_pretrained(folder / f"runs/{number}/model") for number in (1, 2, 3, 4)]
    assert [model.config.latent_channels for model in models] == [32, 48, 48, 48]
    assert [model.gaussian_decoder is not None for model in models] == [False, False, True, True]
    assert [model.quantizer is not None for model in models] == [False, False, False, True]
    assert all("image_understanding/loss" in line for line in last)
    assert "image_reconstruction/clip" in last[0]
    assert all("video_reconstruction/loss" in line for line in last[1:])
