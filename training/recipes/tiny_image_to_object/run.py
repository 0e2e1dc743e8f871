"""Tiny image to 3D from nothing: objects, their latents and pictures, three trainings, and what comes of them.

    python -m atoken.training.recipes.tiny_image_to_object.run OUT --minutes 120

It goes on where it was stopped. OUT/released/image-to-object-tiny is a pipeline of diffusers with its record, to be put
beside the tokenizer that its link leads to; OUT/held_out.png shows what it makes.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from atoken.generation import SparseStructureAutoencoder
from atoken.tokenizing.loading import LoadedModel, load_model
from atoken_headers.model_folders import CHECKPOINTS

from ...generators.image_to_object.features import ObjectFeatures
from ...generators.image_to_object.rows import ObjectRows
from ...generators.image_to_object.structures import write_structures
from ..text_files import write_text
from .card import card_of
from .corpora import VIEWS as VIEWS_EACH
from .corpora import open_rows, write_conditions, write_corpus
from .measuring import (
    VIEW_SIZE,
    VIEWS,
    baselines,
    generated,
    mean_of,
    open_pipeline,
    reconstruction_iou,
    true_objects,
)
from .objects import SPLITS
from .one_object import cost_of_an_object
from .parts import PARTS, TRAININGS, train
from .pictures import save_pictures
from .release import NAME, RECORD, record_of, release
from .unit_latents import write_scaled

TOKENIZER = "atoken-tiny"
SAMPLING: dict[str, Any] = {
    "structure_sampling": {"num_inference_steps": 12, "guidance_scale": 3.0, "guidance_interval": [0.5, 1.0]},
    "latent_sampling": {"num_inference_steps": 12, "guidance_scale": 1.0},  # what `sweep` found: guidance costs color
}
SHOWN = 6  # held-out objects in the picture
PROTOCOL = (
    "Solids of the miniature world, their longest side 3/8 of the cube's, that all face the same way, with pairs of "
    "color and shape that training never has; one picture of each, from anywhere. IoU of voxels; PSNR of Gaussians "
    f"rendered on black against {VIEWS} views of {VIEW_SIZE} pixels of the true mesh, background included; color: "
    "difference of the mean colors of picture and object, from where the picture was taken, mean of red, green and "
    "blue in gray levels. Nearest: the training object with the picture that the "
    "tokenizer's encoder sees as the nearest. Mean: voxels that half of the training objects have, with mean latents. "
    "Ceiling: true latents, decoded. Weights rounded to bf16, run in fp32"
)


def prepare(out: Path, tokenizer: LoadedModel, counts: dict[str, int]) -> dict[str, ObjectRows]:
    """Writes corpora and what is seen of pictures, as far as they are not there; gives the rows of each split."""
    rows = {}
    for split in SPLITS:
        folder = out / split
        _tell(f"{split}: latents", write_corpus(split, counts[split], tokenizer, folder / "latents"))
        rows[split] = open_rows(folder / "latents", tokenizer)
    _tell("train: pictures", write_conditions(rows["train"], "train", tokenizer, out / "train/conditions"))
    recolored = write_conditions(rows["train"], "train", tokenizer, out / "train/recolored", recolor=True)
    _tell("train: pictures in other colors", recolored)
    return rows


def train_all(out: Path, rows: ObjectRows, tokenizer: Path, minutes: float, seed: int) -> dict[str, Path]:
    """Trains what is not trained yet, and gives the folders of the three models."""
    found = {}
    for part in TRAININGS:
        found[part.name] = train(part, out, tokenizer, part.share * minutes, seed)
        if part.name == "structure_vae":
            found[part.name] = write_scaled(found[part.name], rows, out / "structure_vae")
            vae = SparseStructureAutoencoder.from_pretrained(found[part.name]).eval()
            _tell("train: structures", write_structures(rows, vae, out / "train/structures"))
    return {part.name: found[part.name] for part in PARTS}


def conclude(
    out: Path, rows: dict[str, ObjectRows], tokenizer: LoadedModel, count: int, facts: dict[str, str]
) -> dict[str, Any]:
    """Measures what is released, and writes record, card and picture."""
    released = out / "released" / NAME
    parts = {part.name: released / part.name for part in PARTS}
    pipeline = open_pipeline(parts, tokenizer, SAMPLING)
    trues = true_objects(rows["held_out"], "held_out", count)
    conditions = ObjectFeatures(out / "train/conditions", {"corpus": rows["train"].digest})
    each, seconds = generated(pipeline, trues)
    measured = {
        "generated": mean_of(each),
        **baselines(trues, rows["held_out"], rows["train"], conditions, tokenizer.model),
    }
    reconstructed = reconstruction_iou(pipeline.structure_vae, rows["held_out"], count)
    trues[0].picture.save(out / "picture.png")
    costs = {
        "seconds_of_an_object": round(seconds, 2),
        "process_of_an_object": cost_of_an_object(released, out / "picture.png"),
    }
    record = record_of(
        out, released, measured, {**facts, "sampling": SAMPLING, "structure_vae_iou": round(reconstructed, 4), **costs}
    )
    save_pictures(pipeline, trues[:SHOWN], out / "held_out.png")
    write_text(released / "README.md", card_of(record))
    write_text(released / RECORD, json.dumps(record, indent=1) + "\n")
    return record


def main(
    out: Annotated[Path, typer.Argument(help="Folder for all of it.")],
    minutes: Annotated[float, typer.Option(help="Time for the steps of all trainings together.")] = 120.0,
    objects: Annotated[int, typer.Option(help="Objects that are learned of.")] = 400,
    held_out: Annotated[int, typer.Option(help="Objects that are measured.")] = 24,
    seed: Annotated[int, typer.Option(help="Of the trainings.")] = 0,
) -> None:
    """Does what is not done yet."""
    tokenizer = load_model(str(CHECKPOINTS / TOKENIZER), "cpu", "float32")
    rows = prepare(out, tokenizer, {"train": objects, "held_out": held_out})
    trained = train_all(out, rows["train"], CHECKPOINTS / TOKENIZER, minutes, seed)
    released = out / "released" / NAME
    if not released.is_dir():
        release(open_pipeline(trained, tokenizer, SAMPLING), TOKENIZER, released)
        (released.parent / TOKENIZER).symlink_to(CHECKPOINTS / TOKENIZER)  # where the pipeline's link leads to
    if (released / RECORD).is_file():
        return
    facts = {
        "command": "python -m atoken.training.recipes.tiny_image_to_object.run OUT "
        f"--objects {objects} --minutes {minutes:g}",
        "data": f"{objects} solids of the miniature world with {VIEWS_EACH} pictures each, "
        f"{rows['train'].voxels.mean():.0f} voxels in the mean",
        "protocol": PROTOCOL,
    }
    record = conclude(out, rows, tokenizer, held_out, facts)
    print(json.dumps({name: record["measured"][name] for name in record["measured"]}), flush=True)


def _tell(what: str, progress: Iterable[int]) -> None:
    for done in progress:
        print(f"{what}: {done}", flush=True)


if __name__ == "__main__":
    typer.run(main)
