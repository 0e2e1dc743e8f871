"""Embeddings of drawn pictures after each stage of a curriculum, for the plot of the paper's Figure 8.

    python -m atoken.training.recipes.tiny.stage_embeddings RUN docs/curriculum/stage-embeddings.json

RUN is what the curriculum has written. Pictures are of held-out pairs of color and shape, labels are shapes, and an
embedding is the mean over tokens of the encoder's output. Of stages 3 and 4, latents are embedded as well.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from atoken.evaluation.models.atoken_features import AtokenFeatures
from atoken.evaluation.sets.miniature_sets import miniature_classification
from atoken.processing.atomic_files_atoken import atomic_file

SIZE = 128  # pixels of a picture's sides
DIGITS = 4
# Stage -> what is embedded: panels (a) to (e) of the figure.
LAYERS = {1: ("features",), 2: ("features",), 3: ("features", "latents"), 4: ("latents",)}


def embeddings_of(run: Path, count: int) -> dict[str, dict[str, Any]]:
    """
    Embeds the same pictures by the models of all stages.

    Args:
        run: folder of the curriculum.
        count: pictures.

    Returns:
        By "stage-N", or "stage-N latents", "labels" and "embeddings", a list of numbers for each picture.

    Raises:
        FileNotFoundError: a stage is missing.
    """
    pictures = miniature_classification("image", "shape", count, size=SIZE)
    found = {}
    for stage, layers in LAYERS.items():
        folder = run / f"stage-{stage}/model"
        if not folder.is_dir():
            raise FileNotFoundError(f"run must hold models of all stages, got {run} without that of stage {stage}")
        for layer in layers:
            embedder = AtokenFeatures(str(folder), layer)
            rows = embedder.embed([sample.load() for sample in pictures.samples])
            name = f"stage-{stage}" if layer == "features" else f"stage-{stage} {layer}"
            found[name] = {
                "labels": [sample.label for sample in pictures.samples],
                "embeddings": [[round(value, DIGITS) for value in row] for row in rows.tolist()],
            }
    return found


def main(
    run: Annotated[Path, typer.Argument(help="Folder of the curriculum, with all stages.")],
    out: Annotated[Path, typer.Argument(help="File to write, JSON.")],
    count: Annotated[int, typer.Option(min=16, help="Pictures.")] = 120,
) -> None:
    """Write the embeddings of all stages into a file."""
    text = json.dumps(embeddings_of(run, count))
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(out) as temporary:
        temporary.write_text(text.replace('}, "', '},\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
