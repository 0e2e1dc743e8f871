"""Corpora of a few captioned scenes of the embedded tokenizer, and stages of seconds."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from atoken.training.recipes.tiny_text_to_media.corpora import write_latents, write_scenes

TOKENIZER = Path(__file__).parents[4] / "checkpoints/atoken-tiny"
COUNTS = {"image": 11, "video": 6}
STAGE = {
    "name": "test",
    "preset": "tiny",
    "steps": 6,
    "image_batch_size": 4,
    "video_batch_size": 2,
    "image_share": 0.5,
    "model": {"num_attention_heads": 2, "num_layers": 1},
    "optimizer": {"rate": 0.003, "warm_up": 2, "average": 0.9, "average_ramp": False},
}


@dataclass(frozen=True)
class Files:
    """What a training is given."""

    root: Path
    images: Path
    videos: Path
    captions: Path

    def stage(self, name: str = "stage", **options) -> Path:
        """A stage file."""
        path = self.root / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**STAGE, **options}))
        return path


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Files:
    """Corpora of images and of videos."""
    root = tmp_path_factory.mktemp("media")
    for kind, count in COUNTS.items():
        write_scenes(root / f"{kind}.parquet", kind, count)
        write_latents(root / f"{kind}.parquet", kind, TOKENIZER, root / f"{kind}s")
    return Files(root, root / "images", root / "videos", root / "captions")
