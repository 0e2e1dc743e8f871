"""Trains a small 3D Gaussian decoder for a trained tokenizer, whose own weights stay as they are.

    python -m atoken.training.recipes.tiny.train_gaussians OBJECTS CHECKPOINT OUT --minutes 60

OBJECTS is what `python -m atoken.training.data.prepare_objects` writes. The first minutes teach where surfaces are, by
points of them and without drawing anything (`surface_loss`). Then the loss is the released decoder's on black, L1
+ 0.2 (1 - MS-SSIM), with the log of the mean squared error in the place of its LPIPS term, whose weights need the
network: it is PSNR, but for a factor, so a picture that is almost right counts as much as one that is not. Features are
patches as they are encoded, not as CHECKPOINT decodes them, which takes longer than a step and makes next to no
difference: held-out scores are of decoded ones. OUT receives
CHECKPOINT with the decoder in it, and `training_3d.json`: data, command, seed, steps, the curve and the held-out scores
beside those of flat voxels.
"""

import copy
import json
import math
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
from tqdm import tqdm

from atoken import AtokenGaussianConfig, AtokenGaussianDecoder, AtokenModel, Gaussians, render
from atoken.gaussian_conversion_atoken import attach_gaussian_decoder
from atoken.processing.atomic_files_atoken import atomic_file

from ...muon import Muon
from ...program import begin
from ...tokenizer.losses import log_mse_of_views
from .dead_rows import fill_dead_rows
from .local_averages import HEAD_DIM, has_looks, looking_parameters, protect_looks
from .prepared_objects import PreparedObject, decoded_voxels, flat_voxels, measure_views
from .stepping import average, descend, remember_peaks, set_rates
from .surface_start import see_surfaces
from .surface_steps import learn_surfaces

SSIM_WEIGHT = 0.2
# Outputs of an untrained decoder: dense enough that the first pictures are solid, so that colors learn at once.
START_OPACITY, START_SCALE = 0.5, 0.006


def build_decoder(width: int, layers: int, num_gaussians: int) -> AtokenGaussianDecoder:
    """Makes a decoder of fp32 weights that begins with solid gray Gaussians."""
    config = AtokenGaussianConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD_DIM,
        num_gaussians=num_gaussians,
    )
    decoder = AtokenGaussianDecoder(config)
    parts = decoder.out_layer.bias.detach().split([num_gaussians * width for width in (3, 3, 3, 4, 1)])
    # The released activations: softplus(s + softplus^-1(0.004)) and sigmoid(o + logit(0.1)).
    parts[2].fill_(math.log(math.expm1(START_SCALE)) - math.log(math.expm1(0.004)))
    parts[4].fill_(math.log(START_OPACITY / (1 - START_OPACITY)) - math.log(0.1 / 0.9))
    return decoder


def build_optimizers(decoder: AtokenGaussianDecoder, rate: float) -> list[torch.optim.Optimizer]:
    """Makes Muon for the matrices of the blocks and AdamW for the rest; every group keeps its peak rate as "peak"."""
    learned = [(name, p) for name, p in decoder.named_parameters() if p.requires_grad]
    matrices = [p for name, p in learned if p.ndim == 2 and name.startswith("blocks.")]
    rest = [p for name, p in learned if p.ndim < 2 or not name.startswith("blocks.")]
    optimizers = [
        Muon(matrices, lr=rate, momentum=0.95),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    return remember_peaks(optimizers)


def decode(decoder: AtokenGaussianDecoder, item: PreparedObject, features: torch.Tensor) -> Gaussians:
    """Decodes an object's features (N, 768), see `decoded_voxels`."""
    cu_seqlens = torch.tensor([0, len(item.coords)], dtype=torch.int32, device=item.coords.device)
    return decoder(features, item.coords, cu_seqlens)[0]


def loss_of(pictures: torch.Tensor, originals: torch.Tensor, log_mse: float) -> torch.Tensor:
    """Computes L1 + 0.2 (1 - MS-SSIM) + `log_mse` times the mean of log MSE of (K, 3, S, S) in [0, 1]."""
    similarity = multiscale_structural_similarity_index_measure(pictures, originals, data_range=1.0, normalize="relu")
    loss = nn.functional.l1_loss(pictures, originals) + SSIM_WEIGHT * (1 - similarity)
    return loss + log_mse * log_mse_of_views(pictures, originals)


def evaluate(decoder: AtokenGaussianDecoder, model: AtokenModel, paths: list[Path]) -> dict[str, float]:
    """Measures the decoder, behind the model's own, on prepared objects."""

    def draw(item: PreparedObject) -> torch.Tensor:
        item = item.to(model.device)
        return render(decode(decoder, item, decoded_voxels(model, item)), item.cameras, item.images.shape[-1])

    with torch.no_grad():
        return measure_views(draw, paths)


def save(decoder: AtokenGaussianDecoder, model: AtokenModel, out: Path) -> None:
    """Writes `model` with a copy of `decoder` in it, without rows of zeros, in the dtype of `model`."""
    decoder = copy.deepcopy(decoder)
    fill_dead_rows(decoder)
    attach_gaussian_decoder(model, decoder.to(model.device, model.dtype))
    model.save_pretrained(out)


def main(
    objects: Annotated[Path, typer.Argument(help="Folder written by prepare_objects.")],
    checkpoint: Annotated[Path, typer.Argument(help="The tokenizer whose decoded voxels it is for.")],
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint.")],
    minutes: Annotated[float, typer.Option(help="Time for training steps; evaluation comes on top.")] = 60.0,
    surface_share: Annotated[float, typer.Option(help="Share of the time for surfaces first, but for --start.")] = 0.3,
    width: Annotated[int, typer.Option(help="Width of the Gaussian decoder, a multiple of 32 from 96 on.")] = 128,
    layers: Annotated[int, typer.Option()] = 4,
    num_gaussians: Annotated[int, typer.Option(help="Gaussians per voxel.")] = 8,
    views: Annotated[int, typer.Option(help="Pictures of an object in a step.")] = 2,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 7e-4,
    log_mse: Annotated[float, typer.Option(help="Weight of the log of the mean squared error.")] = 0.2,
    device: Annotated[str, typer.Option(help='"cpu" or "cuda".')] = "cpu",
    start: Annotated[Path | None, typer.Option(help="Checkpoint whose Gaussian decoder to go on from.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Trains and writes a checkpoint with its record."""
    begin(seed)
    rng = random.Random(seed)
    held_out = sorted((objects / "heldout").rglob("*.safetensors"))
    train = sorted((objects / "train").rglob("*.safetensors"))
    if not held_out or not train:
        raise typer.BadParameter(
            f"OBJECTS must have prepared objects in heldout/ and train/, got {objects}; `prepare_objects` writes them"
        )
    baseline = measure_views(flat_voxels, held_out)
    print(json.dumps({"flat_voxels": baseline, "train_objects": len(train)}), flush=True)

    model = AtokenModel.from_pretrained(checkpoint)
    frozen = AtokenModel.from_pretrained(checkpoint, dtype=torch.float32).eval().to(device)

    shutil.copytree(checkpoint, out, dirs_exist_ok=True)
    if start is None:
        decoder = build_decoder(width, layers, num_gaussians)
        see_surfaces(decoder, train, rng)
    else:
        decoder = AtokenModel.from_pretrained(start, dtype=torch.float32).gaussian_decoder.train()
    looks = looking_parameters(decoder) if start is None or has_looks(start) else []
    for parameter in looks:
        parameter.requires_grad_(False)
    decoder.to(device)
    averaged = copy.deepcopy(decoder).eval()
    # A decoder that pictures have trained already would forget what they taught it.
    surface_minutes = surface_share * minutes if start is None else 0.0
    minutes -= surface_minutes
    optimizers = build_optimizers(decoder, rate)
    with tqdm(desc="surfaces", total=surface_minutes, unit="min", disable=not sys.stderr.isatty()) as bar:
        surfaces = learn_surfaces(
            decoder, averaged, optimizers, train, surface_minutes, rng, lambda done: bar.update(done - bar.n)
        )
    print(json.dumps({"surfaces": surfaces[-1:]}), flush=True)
    decoder.load_state_dict(averaged.state_dict())
    optimizers = build_optimizers(decoder, rate)
    curve = []
    spent, step, next_report, recent = 0.0, 0, 5.0, []
    with tqdm(desc="training", total=minutes, unit="min", disable=not sys.stderr.isatty()) as bar:
        while spent < minutes:
            began = time.monotonic()
            set_rates(optimizers, spent / minutes, warm_up=0.02, first=1e-3)
            path = rng.choice(train)
            item = PreparedObject.load(path).to(device)
            chosen = rng.sample(range(len(item.images)), views)
            gaussians = decode(decoder, item, item.rgb.float() / 127.5 - 1)
            pictures = render(gaussians, item.cameras[chosen], item.images.shape[-1])
            loss = loss_of(pictures, item.images[chosen].float() / 255, log_mse)
            descend(loss, decoder, optimizers)
            step += 1
            recent.append(loss.detach())
            average(averaged, decoder, step)
            spent += (time.monotonic() - began) / 60
            bar.update(spent - bar.n)
            if spent >= next_report:
                mean_loss = float(torch.stack(recent).mean())
                recent.clear()
                curve.append(
                    {
                        "step": step,
                        "minutes": round(spent, 1),
                        "loss": mean_loss,
                        **evaluate(averaged, frozen, held_out),
                    }
                )
                print(json.dumps(curve[-1]), flush=True)
                save(averaged, model, out)
                train = sorted((objects / "train").rglob("*.safetensors"))  # more may have been prepared meanwhile
                next_report += 20.0

    save(averaged, model, out)
    if looks:
        protect_looks(model, checkpoint, out)
    stored = AtokenModel.from_pretrained(out, dtype=torch.float32).gaussian_decoder.to(device)
    places = {str(start): "START", str(objects): "OBJECTS", str(checkpoint): "CHECKPOINT", str(out): "OUT"}
    record = {
        "command": " ".join(
            ["python -m atoken.training.recipes.tiny.train_gaussians", *(places.get(a, a) for a in sys.argv[1:])]
        ),
        "data": {
            "objects": len(train),
            "by_folder": dict(Counter(path.parent.relative_to(objects / "train").as_posix() for path in train)),
            "source": "training/recipes/tiny/meshes.json, split 'train', and in solids/, where there are any, those of "
            "prepare_solids; held-out scores are on split 'heldout'",
        },
        "loss": (f"points of surfaces for {surface_minutes:g} minutes, then " if surface_minutes else "")
        + f"L1 + 0.2 (1 - MS-SSIM) + {log_mse:g} log MSE on black, {views} views of an object a step; no LPIPS",
        "seed": seed,
        "steps": step,
        "minutes": round(spent + surface_minutes, 1),
        "surfaces": surfaces,
        "parameters": sum(p.numel() for p in averaged.parameters()),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "protocol": "object's longest side 1; 16 Hammersley views at 512 px to tokens; pictures at 256 px from other "
        "Hammersley cameras with a random offset, radius 2, field of view 40 degrees, on black; 8-bit values, PSNR and "
        "SSIM per picture, background included, averaged; weights rounded to bf16, run in fp32",
        "flat_voxels": baseline,
        "held_out": evaluate(stored.eval(), frozen, held_out),
        "curve": curve,
    }
    if start is not None and (start / "training_3d.json").is_file():
        record["before"] = json.loads((start / "training_3d.json").read_text(encoding="utf-8"))
    with atomic_file(out / "training_3d.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record["held_out"]), flush=True)


if __name__ == "__main__":
    typer.run(main)
