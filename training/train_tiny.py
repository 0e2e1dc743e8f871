"""Trains the embedded tiny tokenizer on a laptop: reconstruction of photos and clips, from a PCA start.

    python -m atoken.training.train_tiny DATA OUT --minutes 45
    python -m atoken.training.train_tiny DATA OUT --minutes 45 --discrete

DATA is what `python -m atoken.training.data.collect_media` writes. OUT receives the weights in bf16 and
`training.json`: data, command, seed, steps, the curve and the held-out scores beside those of PCA.
"""

import copy
import json
import random
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import Progress

from atoken import AtokenConfig, AtokenModel
from atoken.processing import AtokenProcessor, AtokenVoxelProcessor
from atoken.tokens_atoken import patchify, unpatchify

from .crops import clip_batch, load_clips, load_photos, pan_batch, photo_batch
from .fsq_start import start_discrete_from_pca
from .held_out import load_held_out_clips, load_squares, measure
from .pca_start import Pca, protected_rows, start_from_pca
from .stepping import average, remember_peaks, set_rates

# About 800 tokens a step: for the same time, more steps were worth more than larger ones.
IMAGE_SHAPES = [(128, 12), (256, 3), (512, 1)]  # side, crops
CLIP_SHAPES = [(128, 16, 3), (256, 16, 1), (128, 4, 12), (128, 8, 6), (192, 17, 1), (256, 8, 2)]  # side, frames, crops
PAN_SHARE = 0.5  # of the video steps: photos that a camera glides over
VIDEO_SHARE = 0.3


def patches_of(video: torch.Tensor) -> torch.Tensor:
    """(B, 4, 3, H, W) -> (N, 3072) patches in the model's order."""
    return patchify(video, (4, 16, 16)).flatten(0, 3)


def fit_pcas(photos: list, clips: list, rng: random.Random) -> tuple[Pca, Pca, Pca]:
    """PCA of image patches, of patches of clips and pans together, and of clips alone (the baseline)."""
    images = [patches_of(photo_batch(photos, side, 16, rng)[:, None])[:, :768] for side in (128, 256, 512) * 8]
    real = [patches_of(clip_batch(clips, side, 4, 8, rng)) for side in (128, 256) * 30]
    pans = [patches_of(pan_batch(photos, side, 4, 8, rng)) for side in (128, 256) * 15]
    return Pca.fit(torch.cat(images), 128), Pca.fit(torch.cat(real + pans), 128), Pca.fit(torch.cat(real), 128)


def build_optimizers(model: AtokenModel, rate: float) -> list[torch.optim.Optimizer]:
    """
    Muon for the matrices of the blocks, at `rate` in the decoder and a quarter of it in the encoder, whose first blocks
    tell images from videos; AdamW at 4e-4 for what is left, and at 0.05 of that for the layers that hold the PCA bases
    and the norms that undo its scale.

    Every group keeps its peak rate as "peak".
    """
    encoder, decoder, rest, slow = [], [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if "norm" in name or any(part in name for part in ("input_layer", "latent_proj", "out_layer")):
            slow.append(parameter)
        elif parameter.ndim == 2 and ".blocks." in name:
            (encoder if name.startswith("vision_model.") else decoder).append(parameter)
        else:
            rest.append(parameter)
    muon = [{"params": decoder, "lr": rate}, {"params": encoder, "lr": 0.25 * rate}]
    adam = [{"params": rest, "lr": 4e-4}, {"params": slow, "lr": 0.05 * 4e-4}]
    muon, adam = ([group for group in groups if group["params"]] for groups in (muon, adam))
    optimizers = [
        torch.optim.Muon(muon, momentum=0.95, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(adam, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    return remember_peaks(optimizers)


def next_batch(photos: list, clips: list, rng: random.Random) -> torch.Tensor:
    """(B, T, 3, H, W) in [-1, 1]; photos have T = 1."""
    if rng.random() >= VIDEO_SHARE:
        side, count = rng.choice(IMAGE_SHAPES)
        return photo_batch(photos, side, count, rng)[:, None]
    side, frames, count = rng.choice(CLIP_SHAPES)
    if rng.random() < PAN_SHARE:
        return pan_batch(photos, side, frames, count, rng)
    return clip_batch(clips, side, frames, count, rng)


def reconstruct(model: AtokenModel, video: torch.Tensor) -> torch.Tensor:
    """(B, T, 3, H, W) -> the same, through encoder and decoder; the encoder's filling of time is cut off."""
    encoded = model.encode(video, pool=False)
    frames, rows, columns = -(-video.shape[1] // 4), video.shape[3] // 16, video.shape[4] // 16
    grid = encoded.latents.unflatten(0, (video.shape[0], frames, rows, columns))
    return model.decode(grid).pixel_values[:, : video.shape[1]]


def reconstruct_pca(pca: Pca, num_components: int):
    """The linear baseline, as a function for `measure`."""

    def through(video: torch.Tensor) -> torch.Tensor:
        frames = pca.mean.shape[0] // 768
        patches = patchify(video, (frames, 16, 16))
        return unpatchify(pca.reconstruct(patches, num_components), (frames, 16, 16))

    return through


def evaluate(model: AtokenModel, held_out: dict[str, list]) -> dict[str, dict]:
    model.eval()
    with torch.no_grad():
        scores = {name: measure(lambda video: reconstruct(model, video), media) for name, media in held_out.items()}
    model.train()
    return scores


@torch.no_grad()
def latent_statistics(model: AtokenModel, photos: list, clips: list, rng: random.Random) -> tuple[list, list]:
    """Mean and standard deviation of each latent channel over photos and clips alike, for diffusion models."""
    batches = [photo_batch(photos, 256, 4, rng)[:, None] for _ in range(16)]
    batches += [clip_batch(clips, 128, 16, 2, rng) for _ in range(32)]
    latents = torch.cat([model.encode(batch, pool=False).latents for batch in batches])
    return [round(v, 5) for v in latents.mean(0).tolist()], [round(v, 5) for v in latents.std(0).tolist()]


def main(
    data: Annotated[Path, typer.Argument(help="Folder written by collect_media.")],
    out: Annotated[Path, typer.Argument(help="Folder for the checkpoint.")],
    minutes: Annotated[float, typer.Option(help="Time for training steps; evaluation comes on top.")] = 45.0,
    discrete: Annotated[bool, typer.Option(help="Quantize with FSQ.")] = False,
    start: Annotated[Path | None, typer.Option(help="Checkpoint to go on from, instead of the PCA start.")] = None,
    rate: Annotated[float, typer.Option(help="Peak learning rate of the blocks' matrices (Muon).")] = 1e-3,
    clip_names: Annotated[str, typer.Option(help="Training clips, by comma.")] = (
        "box.mp4,carphone_pristine.mp4,tree.avi"
    ),
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Trains and writes a checkpoint with its record."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    photos, clips = load_photos(data / "photos/train"), load_clips(data / "clips/train", clip_names.split(","))
    held_out = {
        "photos_256": load_squares(data / "photos/heldout", 256),
        "photos_512": load_squares(data / "photos/heldout", 512),
        "clips_16x256": load_held_out_clips(data / "clips/heldout", 16, 256),
    }
    image_pca, video_pca, clip_pca = fit_pcas(photos, clips, rng)
    baseline = {
        name: measure(reconstruct_pca(clip_pca if name.startswith("clips") else image_pca, 48), media)
        for name, media in held_out.items()
    }
    print(json.dumps({"pca_48": baseline}), flush=True)

    config = AtokenConfig.from_preset("tiny", quantizer_config={} if discrete else None)
    model = AtokenModel(config)
    decoder_rows = 4
    if start is not None:
        model.load_state_dict(AtokenModel.from_pretrained(start, dtype=torch.float32).state_dict())
    elif discrete:
        frames = torch.cat([patches_of(photo_batch(photos, 256, 16, rng)[:, None])[:, :768] for _ in range(8)])
        decoder_rows = start_discrete_from_pca(model, image_pca, video_pca, frames)
    else:
        start_from_pca(model, image_pca, video_pca)
    model.vision_model.head.requires_grad_(False)  # no understanding is trained here
    if discrete:
        # Folded codes leave no useful gradient to the encoder; the decoder learns what the codes leave open.
        model.vision_model.requires_grad_(False)
        model.latent_proj.requires_grad_(False)
    model.logit_scale.requires_grad_(False)
    model.logit_bias.requires_grad_(False)
    protected = protected_rows(model, decoder_rows=decoder_rows)
    averaged = copy.deepcopy(model)
    curve = [{"step": 0, "minutes": 0.0, **evaluate(model, held_out)}]
    print(json.dumps(curve[-1]), flush=True)

    optimizers = build_optimizers(model, rate)
    spent, step, tokens = 0.0, 0, 0
    next_report = 5.0
    with Progress(disable=not sys.stdout.isatty()) as progress:
        bar = progress.add_task("training", total=minutes)
        while spent < minutes:
            began = time.monotonic()
            set_rates(optimizers, spent / minutes, warm_up=0.04, first=1e-4)
            video = next_batch(photos, clips, rng)
            output = reconstruct(model, video)
            # The mean of log MSE over samples is mean PSNR itself, so easy samples count as much as hard ones.
            loss = (output - video).square().flatten(1).mean(1).add(1e-5).log().mean()
            model.zero_grad(set_to_none=True)
            loss.backward()
            for parameter, rows in protected:
                if parameter.grad is not None:
                    parameter.grad[rows] = 0
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            step += 1
            tokens += video.shape[0] * -(-video.shape[1] // 4) * video.shape[3] * video.shape[4] // 256
            average(averaged, model, step)
            spent += (time.monotonic() - began) / 60
            progress.update(bar, completed=spent)
            if spent >= next_report:
                curve.append({"step": step, "minutes": round(spent, 1), **evaluate(averaged, held_out)})
                print(json.dumps(curve[-1]), flush=True)
                averaged.save_pretrained(out)
                next_report += 10.0

    model = averaged.eval()
    model.config.weights_license = "apache-2.0"
    model.config.latents_mean, model.config.latents_std = latent_statistics(model, photos, clips, rng)
    model.to(torch.bfloat16).save_pretrained(out)
    # Its own choice for objects: a patch that does not show the voxel has its colour from another surface.
    AtokenProcessor(voxel_processor=AtokenVoxelProcessor(check_visibility=True)).save_pretrained(out)
    stored = AtokenModel.from_pretrained(out, dtype=torch.float32)
    places = {str(data): "DATA", str(out): "OUT", str(start): "START"}
    record = {
        "command": " ".join(["python -m atoken.training.train_tiny", *(places.get(a, a) for a in sys.argv[1:])]),
        "data": {
            "photos": len(photos),
            "clips": clip_names.split(","),
            "source": "training/data/media.json, split 'train'; held-out scores are on split 'heldout'",
        },
        "seed": seed,
        "steps": step,
        "tokens": tokens,
        "minutes": round(spent, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "protocol": "short side resized (bicubic, antialias), centre crop, 8-bit values, PSNR and SSIM per item, "
        "averaged; clips: 16 frames every 60, short side 256, one MSE per clip; weights rounded to bf16, run in fp32",
        "pca_48": baseline,
        "held_out": evaluate(stored, held_out),
        "curve": curve,
    }
    if start is not None and (start / "training.json").is_file():
        record["before"] = json.loads((start / "training.json").read_text(encoding="utf-8"))
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record["held_out"]), flush=True)


if __name__ == "__main__":
    typer.run(main)
