"""A stage, data and a start that are small enough to be trained in a test."""

from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from atoken import AtokenConfig, AtokenModel
from atoken.processing import AtokenProcessor
from atoken.processing.cameras_atoken import hammersley_cameras
from atoken.training.recipes.tiny.text_tower import LENGTH, build_tokenizer
from atoken.training.tokenizer.losses import SIGMOID_BIAS, SIGMOID_SCALE

WIDTH, LATENTS = 48, 12
STAGE = {
    "name": "a test",
    "latent_channels": LATENTS,
    "steps": 8,
    "ratios": {"image_reconstruction": 2, "video_understanding": 1, "video_reconstruction": 1},
    "batch_sizes": {
        "image_understanding": 4,
        "image_reconstruction": 4,
        "video_understanding": 2,
        "video_reconstruction": 2,
    },
    "max_tokens": 64,
    "image_resolution": [32, 64],
    "video_resolution": [32, 32],
    "frames": [4, 8],
    "understanding_tokens": 4,
    "understanding_frames": 8,
    "losses": {"image": {"l1": 1.0}, "video": {"l1": 1.0}, "3d": {"l1": 1.0}},
    "optimizer": {"warm_up": 2, "rate": 1e-3, "final_rate": 1e-4, "encoder_factor": 1.0, "average": 0.9},
}


def make_start(folder: Path, seed: int = 0, gaussians: bool = False) -> Path:
    """Writes a random model with a text tower and its tokenizer."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    tower = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3}
    text = {"vocab_size": len(tokenizer), "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "max_position_embeddings": LENGTH, "projection_size": WIDTH, "pad_token_id": 0}
    text |= {"bos_token_id": None, "eos_token_id": 1}
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = AtokenConfig(
        vision_config=tower,
        decoder_config=tower,
        text_config=text,
        gaussian_config={**small, "num_gaussians": 2} if gaussians else None,
        latent_channels=LATENTS,
        logit_scale_init_value=SIGMOID_SCALE,
        logit_bias_init_value=SIGMOID_BIAS,
    )
    AtokenModel(config).save_pretrained(folder)
    AtokenProcessor(tokenizer=tokenizer).save_pretrained(folder)
    return folder


def write_photos(folder: Path, count: int = 6) -> Path:
    """Writes smooth pictures of several sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        small = rng.integers(0, 256, (6, 5 + index % 3, 3), dtype=np.uint8)
        Image.fromarray(small).resize((60 + 10 * index, 70), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def write_objects(folder: Path, count: int = 3, voxels: int = 20, size: int = 32) -> Path:
    """Writes random voxels with captions, and pictures of several views."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    cameras = hammersley_cameras(4)
    for index in range(count):
        cells = torch.randperm(64**3, generator=generator)[: voxels + index]
        coords = torch.stack([cells // 4096, cells // 64 % 64, cells % 64], dim=1).to(torch.uint8)
        tensors = {
            "coords": coords,
            "rgb": torch.randint(0, 256, (len(coords), 768), generator=generator, dtype=torch.uint8),
            "images": torch.randint(0, 256, (4, 3, size, size), generator=generator, dtype=torch.uint8),
            "world_to_camera": cameras.world_to_camera,
            "intrinsics": cameras.intrinsics,
        }
        save_file(tensors, folder / f"{index}.safetensors", metadata={"caption": f"a plain red ball {index}"})
    return folder


def write_data(folder: Path) -> Path:
    """Writes the data file of a run on drawn images and clips, and photos in a folder."""
    photos, objects = write_photos(folder / "photos"), write_objects(folder / "objects")
    drawn = [{"source": "miniature", "length": 40, "pixels": 32, "frames": 4}]
    clips = [{"source": "miniature", "length": 40, "pixels": 32, "frames": 8}]
    data = {
        "image_understanding": drawn,
        "image_reconstruction": [{"source": "folder", "path": str(photos)}],
        "video_understanding": drawn,
        "video_reconstruction": clips,
        "3d_understanding": [{"source": "objects", "path": str(objects)}],
        "3d_reconstruction": [{"source": "objects", "path": str(objects)}],
    }
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def write_stage(path: Path, **changes: object) -> Path:
    """Writes `STAGE` as a file."""
    path.write_text(yaml.safe_dump({**STAGE, **changes}), encoding="utf-8")
    return path
