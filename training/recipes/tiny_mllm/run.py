"""The tiny multimodal model from nothing: conversations, two stages, measurements, and the released checkpoint.

    python -m atoken.training.recipes.tiny_mllm.run OUT --minutes 60

It goes on where it was stopped.
"""

from pathlib import Path
from typing import Annotated

import typer

from atoken.tokenizing.files import NewFolder

from .features import DrawnFeatures
from .parts import build_parts
from .training import PARTS, fill_features, train_part


def main(
    out: Annotated[Path, typer.Argument(help="Folder for all of it.")],
    minutes: Annotated[float, typer.Option(help="Time for the steps of both stages together.")] = 60.0,
    pictures: Annotated[int, typer.Option(help="Pictures that are learned of.")] = 10000,
    pairs: Annotated[int, typer.Option(help="Pairs of pictures.")] = 4000,
    clips: Annotated[int, typer.Option(help="Clips.")] = 4000,
    orders: Annotated[int, typer.Option(help="Clips of two motions.")] = 2500,
    seed: Annotated[int, typer.Option(help="Of new weights.")] = 0,
) -> None:
    """Does what is not done yet."""
    counts = {"pictures": pictures, "pairs": pairs, "clips": clips, "orders": orders}
    model, processor = build_parts(seed)
    if not (out / "start").is_dir():
        with NewFolder(out / "start") as new:
            model.save_pretrained(new)
            processor.save_pretrained(new)
    features = DrawnFeatures(out / "features")
    start = out / "start"
    for part in PARTS:
        fill_features({kind: counts[kind] for kind in part.visits}, features, model, processor)
        train_part(part, start, out / part.name, counts, features, part.share * minutes)
        start = out / part.name / "model"


if __name__ == "__main__":
    typer.run(main)
