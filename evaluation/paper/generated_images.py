"""Tables 11 and 12, Figures 12 and 13: images of classes by the embedded generators of latents and of codes."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from atoken.miniature.scenes import COLOURS, FLAT_SHAPES, MATERIALS, POSITIONS, Scene
from atoken.miniature.world import draw
from atoken.pages.paper import Shown, TitledTable
from atoken.pages.picture_grid import picture_grid
from atoken.pages.report import Table

from ..array_files import ArrayFile, write_arrays
from ..generation import FEWEST_IMAGES
from ..metrics.adm import AdmNetwork, adm_features, adm_metrics
from ..metrics.distributions import FeatureStatistics, frechet_distance
from ..metrics.efficientnet_lite import load_efficientnet_lite0
from ..metrics.scene_words import ZERO_SHOT, ZeroShotWords, chances, shares_right
from ..models.atoken_tokenizers import AtokenEmbedder, AtokenMedia
from ..models.generators import PipelineSamples
from ..yaml_files import read_yaml
from .counting import training_text
from .drawings import png
from .parts import Part
from .protocol import facts_text
from .reconstruction_config import CONTINUOUS, DISCRETE
from .section import Real
from .workspace import Workspace, digest

SIZE, BATCH, SEED = 64, 16, 0
TRUE_SEED, OTHER_SEED = 1, 2  # of scenes to compare with, and of those that are compared with them
SHOWN = 64
# Heading -> number of ADM's evaluator, and what it is multiplied by.
ADM = {
    "gFID ↓": ("fid", 1),
    "sFID ↓": ("sfid", 1),
    "IS ↑": ("inception_score", 1),
    "precision % ↑": ("precision", 100),
    "recall % ↑": ("recall", 100),
}


@dataclass(frozen=True)
class Generator:
    """
    Describes a generator of classes.

    Attributes:
        name: of its checkpoint.
        tokenizer: checkpoint of its tokens.
        stage: file of the paper's training.
        title: how the paper calls it.
        tokens: of an image of 256 x 256.
    """

    name: str
    tokenizer: str
    stage: str
    title: str
    tokens: int = 256


LATENTS = Generator(
    "lightning-dit-tiny", CONTINUOUS, "training/generators/stages/lightning-dit-xl.yaml", "Lightning-DiT XL/1"
)
CODES = Generator("token-bridge-tiny", DISCRETE, "training/generators/stages/token-bridge-l.yaml", "TokenBridge-L")


def make_table_of_latents(workspace: Workspace) -> Part:
    """Makes Table 11."""
    return _make_table(workspace, LATENTS)


def make_table_of_codes(workspace: Workspace) -> Part:
    """Makes Table 12."""
    return _make_table(workspace, CODES)


def make_figure_of_latents(workspace: Workspace) -> Part:
    """Makes Figure 12."""
    return _make_figure(workspace, LATENTS)


def make_figure_of_codes(workspace: Workspace) -> Part:
    """Makes Figure 13."""
    return _make_figure(workspace, CODES)


def real_latents() -> Real:
    """Says what Table 11 and Figure 12 need."""
    return _real(LATENTS, "lightning-dit", "num_inference_steps: 249, guidance_scale: 1.65")


def real_codes() -> Real:
    """Says what Table 12 and Figure 13 need."""
    return _real(CODES, "token-bridge", "guidance_scale: 3.1")


def made_images(workspace: Workspace, generator: Generator) -> tuple[torch.Tensor, list[Scene], dict[str, Any]]:
    """
    Makes images, or reads those that were made before.

    Returns:
        Images (N, 3, 64, 64) uint8 of classes in turn, a true scene of each one's class, and what the images depend on.

    Raises:
        MissingInput: the checkpoint is not in the clone.
    """
    count = max(workspace.counts.generated, FEWEST_IMAGES)
    samples = PipelineSamples(workspace.checkpoint(generator.name), count, seed=SEED, batch_size=BATCH)
    names = samples.loaded.class_names
    classes = [names[samples.seeded.label(index)] for index in range(count)]
    scenes = [scene_of_class(name, TRUE_SEED, index) for index, name in enumerate(classes)]
    key = digest([samples.describe(), samples.fingerprints(), count])
    path = workspace.out / "work" / f"{generator.name}-{key[:12]}.npz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace.progress(f"{count} images of {generator.name}")
        images = samples.images(range(count))
        write_arrays(path, images.permute(0, 2, 3, 1).numpy(), (count, *images.shape[2:], 3))
    pixels = torch.from_numpy(ArrayFile(path).rows(0, count)).permute(0, 3, 1, 2)
    return pixels, scenes, samples.describe()


def scene_of_class(name: str, seed: int, index: int) -> Scene:
    """
    Draws a scene of a class at random.

    Args:
        name: "red star", a color and a shape.
        seed, index: the scene depends on these and the name alone.
    """
    color, shape = name.split()
    rng = np.random.default_rng((seed, index, tuple(COLOURS).index(color), FLAT_SHAPES.index(shape)))
    material, position = MATERIALS[rng.integers(len(MATERIALS))], tuple(POSITIONS)[rng.integers(len(POSITIONS))]
    return Scene("image", color, shape, material, None, position, int(rng.integers(2**62)))


def _make_table(workspace: Workspace, generator: Generator) -> Part:
    made, scenes, facts = made_images(workspace, generator)
    true = _drawn(scenes)
    tokenizer = AtokenMedia(workspace.checkpoint(generator.tokenizer))
    best = torch.cat([tokenizer.decode(tokenizer.encode(image[None])) for image in true])
    others = _drawn([scene_of_class(f"{one.colour} {one.shape}", OTHER_SEED, i) for i, one in enumerate(scenes)])
    pictures = {generator.name: made, f"true scenes through {generator.tokenizer}": best, "true scenes": true}
    words = ZeroShotWords(AtokenEmbedder(workspace.checkpoint(CONTINUOUS)))
    shown = [scene.facts() for scene in scenes]
    right = [shares_right(shown, words.told(_frames(each), "image")) for each in pictures.values()]
    columns = {f"{name} right %": [100 * one for one in shares] for name, shares in _transposed(right)}
    distances, missing = _distances(pictures, others)
    columns |= distances
    chance = {f"{name} right %": 100 * share for name, share in chances("image").items()}
    rows = [
        [name, *(f"{values[row]:.1f}" for values in columns.values()), str(len(made))]
        for row, name in enumerate(pictures)
    ]
    rows.append(["chance", *(f"{chance[name]:.1f}" if name in chance else "" for name in columns), ""])
    measured = (
        f"{len(made)} images of 64 x 64 of the miniature world's {len(set(_classes(scenes)))} classes in turn, by "
        f"{generator.name}. Beside them are as many true scenes of the same classes, and these through the tokenizer: "
        "the best that its tokens allow. Distances are to as many other true scenes, and depend on their number."
    )
    protocol = [facts_text(facts), ZERO_SHOT, *_recorded(workspace, generator)]
    return Part(
        measured, [TitledTable("Miniature classes", Table(["images", *columns, "count"], rows))], [], protocol, missing
    )


def _make_figure(workspace: Workspace, generator: Generator) -> Part:
    made, scenes, facts = made_images(workspace, generator)
    count = min(len(made), SHOWN)
    columns = len(FLAT_SHAPES)
    measured = (
        f"The first {count} images of 64 x 64 by {generator.name}, as they come: a class is a color and a shape, and "
        "classes take turns. Beside them are true scenes of the same classes."
    )
    shown = [
        Shown(png(picture_grid(each[:count], columns)), "", f"{count} {title} of classes", title)
        for title, each in (("generated images", made), ("true scenes", _drawn(scenes[:count])))
    ]
    return Part(measured, shown=shown, protocol=[facts_text(facts)])


def _distances(pictures: dict[str, torch.Tensor], others: torch.Tensor) -> tuple[dict[str, list[float]], list[str]]:
    """Gives the columns of distances to other scenes, and for each that cannot be computed what is missing."""
    columns: dict[str, list[float]] = {}
    missing = []
    try:
        network = load_efficientnet_lite0(None)
        reference = _gaussian(network.pooled, others)
        columns["FD (EfficientNet-lite0) ↓"] = [
            frechet_distance(reference, _gaussian(network.pooled, each)).total for each in pictures.values()
        ]
    except FileNotFoundError as error:
        missing.append(str(error))
    try:
        inception = AdmNetwork(None)
        real = adm_features(inception, others.split(BATCH))
        found = [adm_metrics(adm_features(inception, each.split(BATCH)), real) for each in pictures.values()]
        columns |= {heading: [factor * one[name] for one in found] for heading, (name, factor) in ADM.items()}
    except (FileNotFoundError, ImportError) as error:
        missing.append(str(error))
    return columns, missing


@torch.no_grad()
def _gaussian(pooled: Any, images: torch.Tensor) -> Any:
    features = torch.cat([pooled(batch) for batch in images.split(BATCH)])
    statistics = FeatureStatistics(features.shape[1])
    statistics.update(features)
    return statistics.compute()


def _drawn(scenes: list[Scene]) -> torch.Tensor:
    return torch.stack([draw(scene, SIZE) for scene in scenes])


def _frames(images: torch.Tensor) -> list[torch.Tensor]:
    return list(images[:, None])


def _classes(scenes: list[Scene]) -> list[str]:
    return [f"{scene.colour} {scene.shape}" for scene in scenes]


def _transposed(rows: list[dict[str, float]]) -> list[tuple[str, list[float]]]:
    return [(name, [row[name] for row in rows]) for name in rows[0]]


def _recorded(workspace: Workspace, generator: Generator) -> list[str]:
    """Says what the training's own record found with more images and a network that was trained to judge."""
    path = workspace.root / "checkpoints" / generator.name / "training.json"
    if not path.is_file():
        return []
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record.get("samples"), dict):
        return []
    return [f"its training record: {facts_text(record['samples'])}. {record.get('protocol', '')}"]


def _real(generator: Generator, name: str, settings: str) -> Real:
    from atoken.generation import LightningDiTTransformer2DModel, TokenBridgeModel

    from .workspace import ROOT

    builders = {"lightning-dit": LightningDiTTransformer2DModel, "token-bridge": TokenBridgeModel}
    try:
        stage = read_yaml(ROOT / generator.stage, "stage")
        with torch.device("meta"):
            model = builders[name].from_preset(stage["preset"])
        parameters = sum(each.numel() for each in model.parameters())
        samples = stage["steps"] * stage["batch_size"]
        hours = training_text(parameters, generator.tokens, samples, f"{generator.title} by {generator.stage}")
    except FileNotFoundError:
        hours = f"counted from {generator.stage}, which is not here"
    return Real(
        f"accelerate launch -m atoken.training.generators.train {generator.stage} ..., then `atoken evaluate` with a "
        f"generator of {{{settings}}} and a set adm-reference (docs/generation.md)",
        "ImageNet-1k as tokens (`atoken tokenize`), VIRTUAL_imagenet256_labeled.npz of ADM's evaluator, So/C or So/D",
        hours,
    )
