"""How much of real words a frozen encoder could tell: a ridge regression from its features to the teacher's vectors.

    python -m atoken.training.recipes.tiny.words_probe DATA MODEL

DATA has been written by collect_media and words_targets. It says for held-out photos with one word each
(photo_words.json) how often the right word of all words comes first: by the teacher, which is the most that a student
can reach, and by the regression. The regression's strength is chosen on training photos, by folds of whole photos.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file
from torch.nn import functional as F

from atoken import AtokenModel, AtokenVisionModel
from atoken.evaluation.metrics.understanding import ZeroShotAccuracy
from atoken.evaluation.sets.photo_words import photo_words
from atoken.processing.patching_atoken import pad_and_patchify

from .words_targets import SPACES, cut, load_teacher, read_photo, words_seen
from .words_vectors import WordVectors

LABELS = Path(__file__).with_name("photo_words.json")
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FOLDS = 4


@torch.no_grad()
def describe(encoder: AtokenVisionModel, pictures: torch.Tensor) -> torch.Tensor:
    """
    Describes pictures by an encoder's features.

    Args:
        pictures: (N, 3, H, W) uint8.

    Returns:
        (N, d): the pooled token, and means and deviations over tokens of every block's output.
    """
    found: list[torch.Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, out: found.append(out)) for block in encoder.blocks]
    rows = []
    for picture in pictures:
        pixel_values, coords = pad_and_patchify(picture[None].float() / 127.5 - 1)
        found.clear()
        pooled = encoder(pixel_values, coords, torch.tensor([0, len(coords)], dtype=torch.int32)).pooler_output[0]
        tokens = [out.reshape(-1, out.shape[-1]) for out in found]
        rows.append(torch.cat([pooled, *(each.mean(0) for each in tokens), *(each.std(0) for each in tokens)]))
    for hook in hooks:
        hook.remove()
    return torch.stack(rows)


class Ridge:
    """
    Fits a ridge regression of targets (N, k) on standardized features (N, d).

    Args:
        strength: of the penalty, per sample.
    """

    def __init__(self, features: torch.Tensor, targets: torch.Tensor, strength: float):
        self.mean, self.deviation = features.mean(0), features.std(0) + 1e-6
        self.offset = targets.mean(0)
        x = ((features - self.mean) / self.deviation).double()
        penalty = strength * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
        self.weights = torch.linalg.solve(x.T @ x + penalty, x.T @ (targets - self.offset).double()).float()

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Predicts targets (M, k)."""
        return (features - self.mean) / self.deviation @ self.weights + self.offset


def choose_strength(
    features: torch.Tensor, targets: torch.Tensor, owner: torch.Tensor, strengths: Sequence[float]
) -> float:
    """
    Chooses the strength whose predictions of left-out photos have the largest mean cosine.

    Args:
        features, targets: (N, d) and (N, k) of crops.
        owner: (N,) index of each crop's photo.
    """
    cosines = dict.fromkeys(strengths, 0.0)
    for fold in range(FOLDS):
        left_out = owner % FOLDS == fold
        for strength in strengths:
            fitted = Ridge(features[~left_out], targets[~left_out], strength)
            cosine = F.cosine_similarity(fitted(features[left_out]), targets[left_out], dim=-1)
            cosines[strength] += float(cosine.mean()) / FOLDS
    return max(cosines, key=lambda strength: cosines[strength])


def accuracy(predictions: torch.Tensor, words: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Computes top-1 and top-5 of predictions (N, k) among words (C, k) by cosine."""
    measure = ZeroShotAccuracy()
    measure.update(F.normalize(predictions, dim=-1) @ F.normalize(words, dim=-1).T, labels)
    return measure.compute()


def main(
    data: Annotated[Path, typer.Argument(help="Folder written by collect_media and words_targets.")],
    model: Annotated[Path, typer.Argument(help="Folder of a checkpoint.")],
    crops: Annotated[int, typer.Option(help="Of each photo, of those that there are.")] = 4,
    side: Annotated[int, typer.Option(help="Of the crops, in pixels.")] = 224,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps the downloaded packages. [default: DATA/packages]")
    ] = None,
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 1,
) -> None:
    """Prints the numbers as JSON."""
    torch.set_num_threads(threads)
    cache = (cache or data / "packages").resolve()
    encoder = AtokenModel.from_pretrained(model, dtype=torch.float32).eval().vision_model
    teacher, vectors = load_teacher(cache), WordVectors.load(cache)
    features, targets, owner = [], [], []
    center = load_file(data / "words" / SPACES)["center"]
    files = [path for path in sorted((data / "words").rglob("*.safetensors")) if path.name != SPACES]
    for index, path in enumerate(files):
        tensors = load_file(path)
        photo = read_photo(tensors["photo"].numpy().tobytes())
        features.append(describe(encoder, cut(photo, tensors["boxes"][:crops].tolist(), side)))
        targets.append(F.normalize(tensors["vectors"][:crops].float() - center, dim=-1))
        owner.append(torch.full((len(features[-1]),), index))
    x, y, of = torch.cat(features), torch.cat(targets), torch.cat(owner)
    strength = choose_strength(x, y, of, STRENGTHS)
    held_out = photo_words(str(data / "photos"), str(LABELS))
    pictures = torch.cat([sample.load() for sample in held_out.samples])
    labels = torch.tensor([sample.label for sample in held_out.samples])
    words = vectors(held_out.class_names)
    with torch.no_grad():
        seen = words_seen(teacher(pictures).logits, vectors.classes()) - center
    resized = torch.cat([cut(each, [(0, 0, *each.shape[1:])], side) for each in pictures])
    predicted = Ridge(x, y, strength)(describe(encoder, resized))
    numbers = {
        "photos": len(files),
        "held_out": len(labels),
        "chance": 1 / len(words),
        "largest_share": held_out.protocol["largest_share"],
        "teacher": accuracy(seen, words, labels),
        "probe": accuracy(predicted, words, labels),
        "strength": strength,
        "cosine_to_teacher": float(F.cosine_similarity(predicted, seen, dim=-1).mean()),
    }
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    typer.run(main)
