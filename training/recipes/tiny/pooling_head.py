"""Goes on with the pooling head of released weights alone, so that it tells shapes whatever their color.

    python -m atoken.training.recipes.tiny.pooling_head DATA OUT checkpoints/atoken-tiny

Training never shows twelve of the 64 pairs of color and shape. Of the others the head tells all shapes, so that more of
the same teaches it nothing, but it has learned them color by color: of gray copies of the same scenes it tells less
than half. Here it learns the shapes of scenes and of copies without any color of the world, in which there is no pair,
while embeddings of scenes, clips, solids and photos are held to what they were. What the encoder makes of all these is
computed once. Latents and codes stay bit by bit. OUT/released becomes the checkpoint; its record takes over all that is
reconstructed.
"""

import itertools
import json
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from atoken import AtokenModel
from atoken.evaluation.metrics.understanding import class_embeddings
from atoken.evaluation.models.atoken_tokenizers import AtokenEmbedder
from atoken.layers_atoken import AtokenPoolingHead
from atoken.miniature.captions import MEDIUM
from atoken.miniature.scenes import FLAT_SHAPES
from atoken.miniature.small_solids import small_solid
from atoken.miniature.world import MiniatureWorld
from atoken.processing import AtokenProcessor
from atoken.processing.colored_mesh_atoken import ColoredMesh

from ..text_files import write_text
from .curriculum import EVALUATION, RELEASED, localized, measure_released
from .decoders import check_the_rest_is_the_same, stage_of
from .described_samples import COLORLESS, Described, colorless, describe
from .evaluation_parts import drop_reconstruction
from .photo_files import load_photo, photos_below
from .release import MEASURES, command_of

SEED = 31  # of the worlds of which scenes are drawn
SCENE_SIZE, CLIP_FRAMES, PHOTO_SIDE = 64, 8, 128  # pixels and frames
BATCH = {"scenes": 128, "clips": 32, "solids": 4, "photos": 16}  # of a step
AT_ONCE = {"scenes": 128, "clips": 32, "solids": 4, "photos": 8}  # that the encoder sees
COPIES = 3.0  # weight of the shapes of copies
HELD, OTHERS_HELD = 30.0, 8.0  # weights of the distance to the embeddings before, of scenes and of what else there is
RATE, DECAY = 3e-3, 0.01
LOOKED_AT = 1024  # embeddings by which lengths are compared


def draw_scenes(kind: str, count: int) -> tuple[list[np.ndarray], torch.Tensor]:
    """Draws images or clips of pairs that training may show, and gives the numbers of their shapes (N,) beside them."""
    world = MiniatureWorld(kind, "train", count, SEED, SCENE_SIZE, CLIP_FRAMES)
    items = [world[index] for index in range(count)]
    shapes = [FLAT_SHAPES.index(item["scene"]["shape"]) for item in items]
    return [item["sample"].numpy() for item in items], torch.tensor(shapes)


def draw_solids(count: int) -> list[ColoredMesh]:
    """Draws solids, so small that they have about 1,600 voxels."""
    world = MiniatureWorld("object", "train", count, SEED)
    return [small_solid(world.describe(index)[0]) for index in range(count)]


def read_photos(folder: Path) -> list[np.ndarray]:
    """
    Reads the middle squares of photos as (3, 128, 128) uint8.

    Raises:
        FileNotFoundError: there are none.
    """
    photos = []
    for path in photos_below(folder):
        image = load_photo(path.read_bytes())
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side)).resize((PHOTO_SIDE, PHOTO_SIDE))
        photos.append(np.asarray(square).transpose(2, 0, 1))
    if not photos:
        raise FileNotFoundError(f"DATA must hold photos, got none below {folder}; `make data` collects them")
    return photos


def distance(found: torch.Tensor, described: Described, rows: torch.Tensor) -> torch.Tensor:
    """Gives one minus the cosine between new embeddings of samples, (n, d), and those before, on average."""
    return 1 - F.cosine_similarity(found, described.embeddings[rows]).mean()


def train_head(
    head: nn.Module,
    scenes: tuple[Described, Described],
    shapes: torch.Tensor,
    others: dict[str, Described],
    classes: torch.Tensor,
    scale: float,
    epochs: int,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> int:
    """
    Trains a pooling head.

    Args:
        head: is changed.
        scenes: in color, and the same without.
        shapes: numbers of the scenes' shapes, (N,).
        others: samples whose embeddings are to stay, by names of `BATCH`.
        classes: unit vectors of the shapes' words, (C, d).
        scale: of cosines, in the softmax over shapes.
        epochs: how often all scenes are seen.
        seed: of the order.
        report: is given steps and losses.

    Returns:
        The number of steps.
    """
    numbers = torch.Generator().manual_seed(seed)
    size = min(BATCH["scenes"], len(shapes))
    steps = epochs * (len(shapes) // size)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step in range(steps):
        if step % (len(shapes) // size) == 0:
            order = torch.randperm(len(shapes), generator=numbers)[: len(shapes) // size * size].split(size)
        rows = order[step % len(order)]
        of_scenes, of_copies = (head(*described.packed(rows)) for described in scenes)
        loss = HELD * distance(of_scenes, scenes[0], rows)
        for found, weight in ((of_scenes, 1.0), (of_copies, COPIES)):
            cosines = F.normalize(found, dim=-1) @ classes.T
            loss = loss + weight * F.cross_entropy(scale * cosines, shapes[rows])
        for name, described in others.items():
            drawn = torch.randint(len(described), (BATCH[name],), generator=numbers)
            loss = loss + OTHERS_HELD * distance(head(*described.packed(drawn)), described, drawn)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        report(step + 1, float(loss.detach()))
    return steps


@torch.no_grad()
def restore_length(head: AtokenPoolingHead, described: Described) -> None:
    """
    Brings embeddings back to about their length before, as cosines leave it free: by a power of two, exact in bf16.

    Args:
        head: is changed in the layers that end its two branches.
        described: samples, the first of which are looked at.
    """
    rows = torch.arange(min(len(described), LOOKED_AT))
    found = head(*described.packed(rows))
    exponent = torch.log2(described.embeddings[rows].norm(dim=1).mean() / found.norm(dim=1).mean()).round()
    for layer in (head.attention.out_proj, head.mlp.fc2):
        layer.weight.mul_(2**exponent)
        layer.bias.mul_(2**exponent)


def main(
    data: Annotated[Path, typer.Argument(help="Folder that `make data` has filled.")],
    out: Annotated[Path, typer.Argument(help="Folder for the run.")],
    checkpoint: Annotated[Path, typer.Argument(help="Released weights of this recipe.")],
    scenes: Annotated[int, typer.Option(help="Scenes to learn of.")] = 32768,
    clips: Annotated[int, typer.Option(help="Clips whose embeddings are held.")] = 2048,
    solids: Annotated[int, typer.Option(help="Solids whose embeddings are held.")] = 128,
    epochs: Annotated[int, typer.Option(help="How often all scenes are seen.")] = 12,
    evaluate: Annotated[bool, typer.Option(help="Measure understanding.")] = True,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Trains the head, and writes OUT/released with its record."""
    released = out / RELEASED
    model = AtokenModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
    processor = AtokenProcessor.from_pretrained(checkpoint)
    embedder = AtokenEmbedder(str(checkpoint))
    templates = ("a {}", f"{MEDIUM['image']} a " + "{}")
    classes = class_embeddings(embedder.embed_texts, FLAT_SHAPES, templates, embedder.canonical_prompts).float()

    def described(name: str, samples: Sequence[Any]) -> Described:
        return describe(model, processor, samples, AT_ONCE[name.split()[-1]], partial(tqdm, desc=name))

    pictures, shapes = draw_scenes("image", scenes)
    ways = itertools.cycle(COLORLESS)
    copies = [colorless(picture, way) for picture, way in zip(pictures, ways, strict=False)]
    of_scenes = described("scenes", pictures), described("colorless scenes", copies)
    others = {
        "clips": described("clips", draw_scenes("video", clips)[0]),
        "solids": described("solids", draw_solids(solids)),
        "photos": described("photos", read_photos(data / "photos/train")),
    }
    began, curve = time.perf_counter(), []

    def report(step: int, loss: float) -> None:
        if step % 50 == 0:
            curve.append({"step": step, "loss": round(loss, 4)})
            print(f"step {step}: loss {loss:.4f}", flush=True)

    scale = float(model.logit_scale.detach().exp())
    head = model.vision_model.head.train()
    steps = train_head(head, of_scenes, shapes, others, classes, scale, epochs, seed, report)
    restore_length(head, of_scenes[0])
    minutes = (time.perf_counter() - began) / 60
    shutil.copytree(checkpoint, released, dirs_exist_ok=True)
    model.eval().to(torch.bfloat16).save_pretrained(released)
    check_the_rest_is_the_same(checkpoint, released, ("vision_model.head",))
    record = json.loads((checkpoint / "training.json").read_text(encoding="utf-8"))
    if evaluate:
        template = localized(EVALUATION, data, out / EVALUATION.name)
        drop_reconstruction(template)
        found = measure_released(stage_of(checkpoint), out, [template])
        kept = {name: round(value, 5) for name, value in found.items() if name.endswith(MEASURES)}
        before = {name: record["stages"][str(stage_of(checkpoint))].get(name) for name in kept}
        record["stages"][str(stage_of(checkpoint))] |= kept
    else:
        before = {}
    places = {str(data): "DATA", str(out): "OUT", str(checkpoint): f"checkpoints/{checkpoint.name}"}
    record["pooling_head"] = {
        "command": command_of("pooling_head", places),
        "data": {"scenes": scenes, "colorless scenes": scenes, **{name: len(each) for name, each in others.items()}},
        "steps": steps,
        "minutes": round(minutes, 1),
        "batch_sizes": BATCH,
        "curve": curve,
        "before": before,
    }
    write_text(released / "training.json", json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
