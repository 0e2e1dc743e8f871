"""A corpus of a few objects on a grid of 16 voxels, as `atoken tokenize` writes it, with pictures and structures."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from atoken.generation import SparseStructureAutoencoder
from atoken.processing import AtokenProcessor, AtokenVoxelProcessor
from atoken.tokenizing.loading import LoadedModel, load_model
from atoken.training.generators.image_to_object.rows import ObjectRows
from atoken.training.generators.image_to_object.structures import write_structures
from atoken.training.recipes.tiny_image_to_object.corpora import open_rows, write_conditions, write_corpus

from ....cli_samples import save_model

OBJECTS = 5
FLOW = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16}
MODELS = {
    "structure-vae": {"latent_channels": 2, "block_out_channels": [4, 8], "layers_per_block": 1, "mid_layers": 0},
    "structure-flow": FLOW,
    "structured-latent-flow": {**FLOW, "io_channels": 8},
}


@dataclass(frozen=True)
class Files:
    """What trainings are given."""

    root: Path
    tokenizer: Path
    loaded: LoadedModel
    rows: ObjectRows

    def stage(self, kind: str) -> Path:
        """The stage file of a kind."""
        return self.root / f"{kind}.yaml"

    def options(self, kind: str) -> dict[str, Path]:
        """The features that a kind needs, by the names of the command's options."""
        needed = {"structure-flow": ("conditions", "structures"), "structured-latent-flow": ("conditions",)}
        return {name: self.root / name for name in needed.get(kind, ())}


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Files:
    """A corpus with all features, and stage files of all kinds."""
    root = tmp_path_factory.mktemp("objects")
    tokenizer = root / "tokenizer"
    save_model(tokenizer)
    AtokenProcessor(voxel_processor=AtokenVoxelProcessor(resolution=16)).save_pretrained(tokenizer)
    loaded = load_model(str(tokenizer), "cpu", "float32")
    list(write_corpus("train", OBJECTS, loaded, root / "latents"))
    rows = open_rows(root / "latents", loaded)
    list(write_conditions(rows, "train", loaded, root / "conditions"))
    torch.manual_seed(0)
    list(write_structures(rows, SparseStructureAutoencoder(**MODELS["structure-vae"]).eval(), root / "structures"))
    for kind, model in MODELS.items():
        values = {"name": kind, "generator": kind, "steps": 6, "batch_size": 4, "micro_batches": 2, "model": model}
        values |= {"preset": "tiny"} | ({"crop": 8} if kind == "structure-vae" else {})
        optimizer = {"rate": 0.003, "warm_up": 2, "average": 0.9, "average_ramp": False, "clip_percentile": 95}
        (root / f"{kind}.yaml").write_text(yaml.safe_dump({**values, "optimizer": optimizer}))
    return Files(root, tokenizer, loaded, rows)
