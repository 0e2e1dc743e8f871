"""The tiny multimodal model from nothing: conversations, two stages, measurements, and the released checkpoint.

    python -m atoken.training.recipes.tiny_mllm.run OUT --minutes 60

It goes on where it was stopped. OUT/released/atoken-tiny-llava is the model with its card and record; OUT/curves.png
and OUT/answers.png are the pictures of docs/mllm.md.
"""

from pathlib import Path
from typing import Annotated

import typer

from .release import conclude
from .training import train_all

# Subjects that the model with an untrained encoder learns of, in its shorter training.
CONTROL_COUNTS = {"pictures": 3000, "pairs": 600, "clips": 1200, "orders": 600}


def main(
    out: Annotated[Path, typer.Argument(help="Folder for all of it.")],
    minutes: Annotated[float, typer.Option(help="Time for the steps of both stages together.")] = 60.0,
    control_minutes: Annotated[float, typer.Option(help="The same for the model with an untrained encoder.")] = 20.0,
    pictures: Annotated[int, typer.Option(help="Pictures that are learned of.")] = 10000,
    pairs: Annotated[int, typer.Option(help="Pairs of pictures.")] = 4000,
    clips: Annotated[int, typer.Option(help="Clips.")] = 4000,
    orders: Annotated[int, typer.Option(help="Clips of two motions.")] = 2500,
    count: Annotated[int, typer.Option("--questions", help="Held-out questions of each kind.")] = 512,
    seed: Annotated[int, typer.Option(help="Of new weights.")] = 0,
) -> None:
    """Does what is not done yet."""
    counts = {"pictures": pictures, "pairs": pairs, "clips": clips, "orders": orders}
    trained = train_all(out, counts, minutes, seed)
    train_all(out / "untrained-tower", CONTROL_COUNTS, control_minutes, seed, untrained_tower=True)
    command = f"python -m atoken.training.recipes.tiny_mllm.run OUT --minutes {minutes:g}"
    conclude(trained, out, counts, CONTROL_COUNTS, count, command)


if __name__ == "__main__":
    typer.run(main)
