"""The parts of a training of image to 3D: what is read of a corpus of objects, the model, and what it learns by."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from atoken.generation import SparseStructureAutoencoder, SparseStructureFlowModel, StructuredLatentFlowModel

from ..initial_weights import load_start
from .batches import Grids, ObjectBatches, Place, VoxelLatents
from .features import ObjectFeatures
from .flow_objectives import StructuredLatentFlowObjective, StructureFlowObjective
from .rows import ObjectRows
from .stage import ObjectStage
from .starts import add_lora, start_structure_vae
from .structure_vae_objective import StructureVaeObjective

Reader = Callable[[int, np.random.Generator], Any]
Collate = Callable[[list[Any], Place], Any]


@dataclass(frozen=True)
class ObjectFiles:
    """
    Holds what a training reads.

    Attributes:
        rows: of the corpus.
        features: what a stage needs besides: "conditions", seen of the objects' pictures, (V, M, c) of each, and
            "structures", latents of their structures, (C, r, r, r) of each.
        vae_statistics: mean and standard deviation in the tokenizer's configuration, by which it is known again.
    """

    rows: ObjectRows
    features: dict[str, ObjectFeatures]
    vae_statistics: tuple[list[float], list[float]] | None = None

    @classmethod
    def open(
        cls, stage: ObjectStage, rows: ObjectRows, vae: Any, conditions: Path | None, structures: Path | None
    ) -> "ObjectFiles":
        """
        Opens what a stage reads.

        Args:
            stage: says which training.
            rows: of the corpus.
            vae: the tokenizer's model.
            conditions, structures: folders of features.

        Raises:
            FileNotFoundError, ValueError: a folder is missing, needless, not complete, or of another corpus.
        """
        needed = {
            "structure-vae": (),
            "structure-flow": ("conditions", "structures"),
            "structured-latent-flow": ("conditions",),
        }[stage.generator]
        opened = {}
        for name, folder in (("conditions", conditions), ("structures", structures)):
            if (folder is not None) != (name in needed):
                word = "given" if name in needed else "left out"
                raise ValueError(f"{name} must be {word} for {stage.generator}, got {folder}")
            if folder is not None:
                opened[name] = ObjectFeatures(folder, {"features": name, "corpus": rows.digest})
        mean, std = vae.config.latents_mean, vae.config.latents_std
        return cls(rows, opened, None if mean is None else (list(mean), list(std)))


def build_object_model(stage: ObjectStage, files: ObjectFiles, start: Path | None = None) -> nn.Module:
    """
    Makes the model that is trained, in the sizes of a corpus.

    Args:
        stage: says which, and what LoRA is added to.
        files: whose sizes and statistics it takes.
        start: folder of weights to begin with; random ones without it.

    Raises:
        ValueError: the weights are of other sizes, or LoRA has none to add to.
    """
    if stage.lora is not None and start is None:
        raise ValueError("init_from must be given where lora is, as LoRA adds to trained weights, got none")
    model = _random_model(stage, files)
    if start is not None:
        load_start(model, start)
    if stage.lora is not None:
        add_lora(model, stage.lora)
    return model


def _random_model(stage: ObjectStage, files: ObjectFiles) -> Any:
    if stage.generator == "structure-vae":
        model = SparseStructureAutoencoder(**stage.model)
        start_structure_vae(model, stage)
        return model
    options: dict[str, Any] = {"cross_attention_dim": files.features["conditions"][0].shape[-1]}
    if stage.generator == "structure-flow":
        channels, side = files.features["structures"][0].shape[:2]
        options |= {"in_channels": int(channels), "sample_size": int(side)}
        return SparseStructureFlowModel.from_preset(stage.preset, **{**options, **stage.model})
    mean, std = files.rows.statistics()
    options |= {"in_channels": files.rows.channels, "sample_size": files.rows.resolution}
    options |= {"latents_mean": mean, "latents_std": std}
    if files.vae_statistics is not None:
        options |= dict(zip(("vae_latents_mean", "vae_latents_std"), files.vae_statistics, strict=True))
    return StructuredLatentFlowModel.from_preset(stage.preset, **{**options, **stage.model})


def build_object_objective(model: nn.Module, stage: ObjectStage, seed: int) -> nn.Module:
    """Makes what a model of image to 3D learns by."""
    if isinstance(model, SparseStructureAutoencoder):
        return StructureVaeObjective(model, stage, seed)
    if isinstance(model, SparseStructureFlowModel):
        return StructureFlowObjective(model, stage, seed)
    assert isinstance(model, StructuredLatentFlowModel)
    return StructuredLatentFlowObjective(model, stage, seed)


def build_object_batches(
    stage: ObjectStage, files: ObjectFiles, model: nn.Module, seed: int, rank: int = 0, world_size: int = 1
) -> ObjectBatches:
    """Makes the batches of a stage."""
    if isinstance(model, SparseStructureAutoencoder):
        read, collate = _occupancy_reader(files, stage.crop, model.spatial_compression_ratio), _grids
    elif isinstance(model, SparseStructureFlowModel):
        read, collate = _structure_reader(files), _grids
    else:
        read, collate = _latents_reader(files, model.config.latents_mean, model.config.latents_std), _voxels
    return ObjectBatches(
        files.rows.voxels,
        read,
        collate,
        stage.batch_size,
        seed,
        stage.micro_batches,
        stage.max_voxels,
        rank,
        world_size,
    )


def _occupancy_reader(files: ObjectFiles, crop: int | None, ratio: int) -> Reader:
    """Reads the grid of an object, or a cube of it at a random place among whole latents."""
    resolution = files.rows.resolution
    if crop is not None and (crop > resolution or crop % ratio):
        raise ValueError(f"crop must be a multiple of {ratio} of at most {resolution}, got {crop}")

    def read(row: int, numbers: np.random.Generator) -> tuple[torch.Tensor, None]:
        grid = files.rows.occupancy(row)
        if crop is not None:
            x, y, z = (ratio * numbers.integers(0, (resolution - crop) // ratio + 1, 3)).tolist()
            grid = grid[:, x : x + crop, y : y + crop, z : z + crop]
        return grid, None

    return read


def _structure_reader(files: ObjectFiles) -> Reader:
    def read(row: int, numbers: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return files.features["structures"][row].float(), _view(files.features["conditions"][row], numbers)

    return read


def _latents_reader(files: ObjectFiles, mean: list[float], std: list[float]) -> Reader:
    shift, scale = torch.tensor(mean), torch.tensor(std)

    def read(row: int, numbers: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        latents, coords = files.rows.latents(row)
        return (latents - shift) / scale, coords, _view(files.features["conditions"][row], numbers)

    return read


def _view(conditions: torch.Tensor, numbers: np.random.Generator) -> torch.Tensor:
    """Gives what is seen of one picture at random: (V, M, c) -> (M, c) fp32."""
    return conditions[int(numbers.integers(len(conditions)))].float()


def _grids(items: list[tuple[torch.Tensor, torch.Tensor | None]], place: Place) -> Grids:
    data, conditions = zip(*items, strict=True)
    return Grids(torch.stack(data), None if conditions[0] is None else torch.stack(conditions), place)


def _voxels(items: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], place: Place) -> VoxelLatents:
    latents, coords, conditions = zip(*items, strict=True)
    lengths = tuple(len(each) for each in latents)
    packed = torch.nn.functional.pad(torch.cat(coords), (1, 0))
    return VoxelLatents(torch.cat(latents), packed, lengths, torch.stack(conditions), place)
