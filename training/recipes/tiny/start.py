"""The start of the tiny curriculum, in the place of SigLIP 2: PCA for pixels, a text tower for words.

    python -m atoken.training.recipes.tiny.start DATA OUT

OUT/wide has 48 latents, OUT/start the first 32 of them for stage 1, both with the text tower and its tokenizer.
OUT/start also protects all that latents depend on, so that its vision tower can be trained to be the teacher (stage 0)
and still reconstruct as PCA does. OUT/narrow are the rows to protect in stage 1, which leave room for the other 16
latents, and OUT/protected_rows.safetensors those to protect after that. A size without room for two bases starts from
one (`joint_pca_start`) and protects nothing.
"""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from atoken import AtokenConfig, AtokenModel
from atoken.processing import AtokenProcessor, AtokenVoxelProcessor
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokens_atoken import patchify

from ...frozen_rows import ProtectedRows
from ...tokenizer.losses import SIGMOID_BIAS, SIGMOID_SCALE
from .crops import clip_batch, load_clips, load_photos, pan_batch, photo_batch
from .dead_rows import fill_dead_rows
from .joint_pca_start import start_from_joint_pca
from .pca_start import HAND_WRITTEN, NULL, SWITCHES, EncoderChannels, Pca, protected_rows, start_from_pca
from .sizes import SIZES
from .text_tower import build_tokenizer, train_text_model

WIDE, NARROW = 48, 32
SPARE = 24  # channels of both towers for the folded codes of stage 4
PHOTOS = 300  # that patches are drawn from
CLIP_FRAMES = 150  # that are read of each clip
DONE = "text.json"  # the text tower's curve, written last


def patches_of(video: torch.Tensor) -> torch.Tensor:
    """Cuts (B, 4, 3, H, W) into (N, 3072) patches in the model's order."""
    return patchify(video, (4, 16, 16)).flatten(0, 3)


def draw_patches(photos: list, clips: list, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws patches of images (N, 768), and of clips and pans together (M, 3072)."""
    images = [patches_of(photo_batch(photos, side, 16, rng)[:, None])[:, :768].clone() for side in (128, 256, 512) * 8]
    real = [patches_of(clip_batch(clips, side, 4, 8, rng)) for side in (128, 256) * 30]
    pans = [patches_of(pan_batch(photos, side, 4, 8, rng)) for side in (128, 256) * 15]
    return torch.cat(images), torch.cat(real + pans)


def fit_joint(images: torch.Tensor, videos: torch.Tensor, num_components: int, rng: random.Random) -> Pca:
    """Fits one PCA to as many patches of images, padded by three frames of zeros, as of videos."""
    count = min(len(images), len(videos))
    joint = videos.new_zeros(2 * count, videos.shape[1])  # gigabytes: filled in place
    for patches, part in zip((images, videos), joint.split(count), strict=True):
        for rows, place in zip(
            torch.tensor(rng.sample(range(len(patches)), count)).split(8192), part.split(8192), strict=True
        ):
            place[:, : patches.shape[1]] = patches[rows]
    return Pca.fit(joint, num_components)


@torch.no_grad()
def indicator_first(model: AtokenModel) -> None:
    """Moves the latent that tells images from videos, the last one of `start_from_pca`, to the front."""
    count = model.config.latent_channels
    order = torch.tensor([count - 1, *range(count - 1)])
    model.latent_proj.weight.copy_(model.latent_proj.weight.clone()[torch.cat([order, count + order])])
    model.decoder.input_layer.weight.copy_(model.decoder.input_layer.weight.clone()[:, order])


@torch.no_grad()
def first_latents(model: AtokenModel, count: int, idle: torch.Tensor) -> AtokenModel:
    """
    Makes a copy that has only the first latents.

    Args:
        idle: the decoder's channels that only the others fill. No block reads them yet, as what comes into them later
            would be noise to neurons that have been trained without it.
    """
    before = model.config.latent_channels
    config = AtokenConfig.from_dict({**model.config.to_dict(), "latent_channels": count})
    state = model.state_dict()
    weight = state["latent_proj.weight"].unflatten(0, (2, before))
    state["latent_proj.weight"] = weight[:, :count].flatten(0, 1)
    state["decoder.input_layer.weight"] = state["decoder.input_layer.weight"][:, :count]
    narrow = AtokenModel(config)
    narrow.load_state_dict(state)
    for block in narrow.decoder.blocks:
        for weight in (block.attn.qkv.weight, block.mlp.fc1.weight):
            drawn = weight.abs().amax(1) <= HAND_WRITTEN
            weight[:, idle] *= ~drawn[:, None]
    return narrow


def decoder_channels(model: AtokenModel, latents: slice) -> torch.Tensor:
    """Lists the channels that hold these latents' components, for images and videos; latent 0 is the indicator."""
    kept = model.config.latent_channels - 1
    components = torch.arange(kept)[max(latents.start - 1, 0) : latents.stop - 1]
    return torch.cat([SWITCHES + SPARE + components, SWITCHES + SPARE + kept + components])


def rows_to_grow_into(
    model: AtokenModel, channels: EncoderChannels, count: int
) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
    """
    Lists the rows that hold the components of all latents after the first `count`, in both towers.

    Blocks that wrote into these channels would guess components that later latents bring, and blur those that the
    encoder will send.
    """
    kept = model.config.latent_channels
    later = slice(count - 1, kept - 1)
    encoder = torch.cat([channels.image[later], channels.video[later]])
    decoder = decoder_channels(model, slice(count, kept))
    ends = (model.vision_model.post_layernorm, encoder), (model.decoder.out_norm, decoder)
    rows = [(p, held) for norm, held in ends for p in norm.parameters()]
    for tower, held in ((model.vision_model, encoder), (model.decoder, decoder)):
        layers = [tower.input_layer]
        for block in tower.blocks:
            layers += [block.norm1, block.attn.out_proj, block.norm2, block.mlp.fc2]
        rows += [(parameter, held) for layer in layers for parameter in layer.parameters()]
    return rows


def rows_behind_latents(model: AtokenModel, channels: EncoderChannels) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
    """Lists all that the latents of the start depend on, apart from what `protected_rows` lists."""
    kept = model.config.latent_channels
    held = torch.cat([channels.image[:kept], channels.video[:kept]])
    tower = model.vision_model
    rows = [(p, torch.arange(len(p))) for p in (*tower.input_layer.parameters(), tower.position_embedding.weight)]
    rows += [(p, torch.arange(len(p))) for p in tower.post_layernorm.parameters()]
    for block in tower.blocks:
        for layer in (block.attn.out_proj, block.mlp.fc2):
            rows += [(parameter, held) for parameter in layer.parameters()]
        # The neurons that switch bases off read these channels through norms.
        rows += [(p, held) for norm in (block.norm1, block.norm2) for p in norm.parameters()]
    return rows


def main(
    data: Annotated[Path, typer.Argument(help="Folder written by collect_media.")],
    out: Annotated[Path, typer.Argument(help="Folder for the start.")],
    text_steps: Annotated[int, typer.Option(help="Of the text tower's training.")] = 2500,
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "tiny",
    layers: Annotated[int | None, typer.Option(help="Blocks of encoder and decoder, instead of the size's.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Writes the start."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    chosen = SIZES[size] if layers is None else replace(SIZES[size], layers=layers)
    images, videos = draw_patches(
        load_photos(data / "photos/train", PHOTOS, rng), load_clips(data / "clips/train", CLIP_FRAMES), rng
    )
    tokenizer = build_tokenizer()
    text_model, curve = train_text_model(tokenizer, chosen.width, text_steps, seed=seed)
    wide = AtokenModel(
        chosen.config(
            text_config=text_model.config.to_dict(),
            latent_channels=WIDE,
            logit_scale_init_value=SIGMOID_SCALE,
            logit_bias_init_value=SIGMOID_BIAS,
        )
    )
    wide.text_model.load_state_dict(text_model.state_dict())
    wide.config.weights_license = "apache-2.0"
    processor = AtokenProcessor(voxel_processor=AtokenVoxelProcessor(check_visibility=True), tokenizer=tokenizer)
    if chosen.has_two_bases:
        start = _start_from_two(wide, images, videos, out)
    else:
        start_from_joint_pca(wide, fit_joint(images, videos, chosen.width, rng))
        # The decoder's channels that latents fill later are not kept free: there is no room to.
        start = first_latents(wide, NARROW, torch.arange(0))
    for name, model in (("wide", wide), ("start", start)):
        fill_dead_rows(model, seed)
        model.save_pretrained(out / name)
        processor.save_pretrained(out / name)
    with atomic_file(out / DONE) as temporary:
        temporary.write_text(json.dumps({"steps": text_steps, "loss": curve}, indent=1) + "\n", encoding="utf-8")
    print(f"text loss {curve[0] if curve else float('nan'):.3f} to {curve[-1] if curve else float('nan'):.3f}")


def _start_from_two(wide: AtokenModel, images: torch.Tensor, videos: torch.Tensor, out: Path) -> AtokenModel:
    """Writes two bases into the wide start and gives the narrow one; OUT has the rows to protect in each stage."""
    width = wide.config.vision_config.hidden_size
    channels = start_from_pca(wide, Pca.fit(images, width), Pca.fit(videos, width), SPARE)
    indicator_first(wide)
    kept = protected_rows(wide, NULL + 1 + SPARE, SWITCHES + SPARE)
    ProtectedRows.of(wide, kept).save(new_folder(out))
    ProtectedRows.of(wide, kept + rows_to_grow_into(wide, channels, NARROW)).save(new_folder(out / "narrow"))
    ProtectedRows.of(wide, kept + rows_behind_latents(wide, channels)).save(new_folder(out / "start"))
    return first_latents(wide, NARROW, decoder_channels(wide, slice(NARROW, WIDE)))


def new_folder(path: Path) -> Path:
    """Makes a folder, and gives its path."""
    path.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    typer.run(main)
