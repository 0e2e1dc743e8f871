"""What is seen of pictures, and latents of structures, as the commands write them."""

import shutil

import pytest
import torch
from PIL import Image

from atoken.generation import SparseStructureAutoencoder
from atoken.generation.object_pictures_atoken import training_picture
from atoken.training.generators.image_to_object import conditions, structures
from atoken.training.generators.image_to_object.features import ObjectFeatures

from ....generation.object_helpers import dinov2, picture
from .conftest import MODELS, OBJECTS

CORPUS = "latents"


@pytest.fixture(scope="module")
def pictures(files, tmp_path_factory):
    """Two pictures of each object."""
    folder = tmp_path_factory.mktemp("pictures")
    for row in range(OBJECTS):
        (folder / files.rows.key(row)).mkdir()
        for view in range(2):
            picture(10 * row + view).save(folder / files.rows.key(row) / f"{view}.png")
    return folder


def written(files, pictures, out, **options) -> ObjectFeatures:
    given = {"tokenizer": str(files.tokenizer), "size": 32, "device": "cpu", **options}
    conditions.main(files.root / CORPUS, pictures, out, **given)
    return ObjectFeatures(out, {"features": "conditions", "corpus": files.rows.digest})


def placed(row: int, size: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(training_picture(picture(10 * row + view), size)) for view in range(2)])


def standardized(tokens: torch.Tensor) -> torch.Tensor:
    """Mean 0 and deviation 1 of each token's channels, in float64."""
    tokens = tokens.double()
    variance = tokens.var(-1, correction=0, keepdim=True)
    return (tokens - tokens.mean(-1, keepdim=True)) / (variance + 1e-5).sqrt()


def test_tokens_of_the_tokenizers_own_encoder(files, pictures, tmp_path):
    features = written(files, pictures, tmp_path / "own")
    with torch.no_grad():
        tokens = files.loaded.model.vision_model(2 * placed(3, 32) - 1, pool=False).last_hidden_state
    assert features[3].dtype == torch.bfloat16
    torch.testing.assert_close(features[3].double(), standardized(tokens), rtol=0.01, atol=0.02)


def test_tokens_of_dinov2_before_its_last_norm(files, pictures, tmp_path):
    encoder = dinov2()
    encoder.save_pretrained(tmp_path / "dinov2")
    features = written(files, pictures, tmp_path / "seen", encoder=str(tmp_path / "dinov2"))
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    seen = []
    encoder.layernorm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        encoder((placed(1, 28) - mean) / std)
    assert features[1].shape == (2, 1 + 4 + 4, 32)
    torch.testing.assert_close(features[1].double(), standardized(seen[0]), rtol=0.01, atol=0.02)
    assert features.facts["picture_size"] == 28


def test_an_encoder_of_another_kind_writes_elsewhere(files, pictures, tmp_path):
    written(files, pictures, tmp_path / "own")
    with pytest.raises(ValueError, match="features must be those of picture_size 64, got 32"):
        written(files, pictures, tmp_path / "own", size=64)


def test_pictures_that_are_missing_or_opaque(files, pictures, tmp_path):
    copy = tmp_path / "pictures"
    shutil.copytree(pictures, copy)
    key = files.rows.key(2)
    Image.new("RGB", (40, 30)).save(copy / key / "0.png")
    with pytest.raises(ValueError, match=f"{key}/0.png must have an alpha channel"):
        written(files, copy, tmp_path / "out")
    shutil.rmtree(copy / key)
    with pytest.raises(FileNotFoundError, match="pictures must hold .png or .webp files in .*, got none"):
        written(files, copy, tmp_path / "out")


def test_structures_are_the_means_of_latents(files, tmp_path):
    torch.manual_seed(0)
    vae = SparseStructureAutoencoder(**MODELS["structure-vae"]).eval()
    vae.save_pretrained(tmp_path / "vae")
    structures.main(
        files.root / CORPUS, tmp_path / "vae", tmp_path / "out", tokenizer=str(files.tokenizer), device="cpu"
    )
    features = ObjectFeatures(tmp_path / "out", {"features": "structures", "corpus": files.rows.digest})
    latents, coords = files.rows.latents(4)
    grid = torch.zeros(1, 1, 16, 16, 16)
    for x, y, z in coords.tolist():
        grid[0, 0, x, y, z] = 1
    with torch.no_grad():
        expected = vae.encoder(grid)[0, :2]  # the other half of the channels is the log-variance
    torch.testing.assert_close(features[4], expected, rtol=1e-5, atol=1e-6)
    assert len(latents) == len(coords) == files.rows.voxels[4] == int(grid.sum())
