"""Cosmos 0.1's files: scripted stand-ins that average blocks, so that what must come back is known."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from atoken.evaluation.models.cosmos_torchscript import CosmosTorchScript

SIDE, FRAMES = 8, 4


class ImageEncoder(nn.Module):
    def forward(self, x):
        pooled = F.avg_pool2d(x, 8)
        return pooled, torch.zeros(1)


class ImageDecoder(nn.Module):
    def forward(self, z):
        return F.interpolate(z, scale_factor=8.0, mode="nearest")


class VideoEncoder(nn.Module):
    """The first frame alone, then four frames at a time; codes are the mean of red in 0 to 255."""

    def forward(self, x):
        first = F.avg_pool3d(x[:, :, :1], (1, 8, 8))
        rest = F.avg_pool3d(x[:, :, 1:], (4, 8, 8)) if x.shape[2] > 1 else x[:, :, 1:, ::8, ::8]
        latents = torch.cat([first, rest], 2)
        return ((latents[:, 0] + 1) * 127.5).round().to(torch.int32), latents, torch.zeros(1)


class VideoDecoder(nn.Module):
    def forward(self, codes):
        gray = (codes.float() / 127.5 - 1)[:, None].expand(-1, 3, -1, -1, -1)
        rest = gray[:, :, 1:].repeat_interleave(4, 2)
        frames = torch.cat([gray[:, :, :1], rest], 2)
        return frames.repeat_interleave(8, 3).repeat_interleave(8, 4)


def write(folder, encoder, decoder):
    for name, module in (("encoder.jit", encoder), ("decoder.jit", decoder)):
        torch.jit.save(torch.jit.script(module), folder / name)
    return str(folder)


def test_continuous_images(tmp_path):
    path = write(tmp_path, ImageEncoder(), ImageDecoder())
    model = CosmosTorchScript(path, trust_code=True, dtype="float32", latent_dtype="float32")
    # Blocks of one color, and a part of a block at the edges, which is filled up with its last values.
    blocks = torch.randint(0, 256, (1, 3, 2, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    media = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)[:, :, :12, :21].contiguous()
    encoded = model.encode(media)
    assert encoded.latent_shape == (3, 1, 2, 3) and encoded.bits == 18 * 32 and encoded.codes is None
    assert torch.equal(model.decode(encoded), media)
    assert model.kinds == {"image"} and model.describe()["compression"] == [1, 8, 8]


def test_discrete_videos_pass_in_windows(tmp_path):
    path = write(tmp_path, VideoEncoder(), VideoDecoder())
    model = CosmosTorchScript(path, video=True, trust_code=True, dtype="float32", window=9)
    assert model.codebook_sizes == (8**3 * 5**3,) and model.describe()["compression"] == [4, 8, 8]
    # 21 frames are windows of 9, 9 and 3: each has its first frame alone, and the last is filled up to 5.
    window = torch.tensor([10, *[20] * 4, *[30] * 4], dtype=torch.uint8)
    media = torch.cat([window, window + 40, torch.tensor([90, 99, 99], dtype=torch.uint8)])
    media = media[:, None, None, None].expand(-1, 3, 16, 10).contiguous()
    encoded = model.encode(media)
    assert encoded.latent_shape == (3 + 3 + 2, 2, 2) and encoded.bits == 8 * 4 * 16
    assert encoded.codes.shape == (8, 2, 2, 1) and encoded.codes[:, 0, 0, 0].tolist() == [
        10,
        20,
        30,
        50,
        60,
        70,
        90,
        99,
    ]
    assert torch.equal(model.decode(encoded), media)
    image = media[:1]
    assert torch.equal(model.decode(model.encode(image)), image)


def test_what_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="without .*encoder.jit"):
        CosmosTorchScript(str(tmp_path))
    path = write(tmp_path, VideoEncoder(), VideoDecoder())
    with pytest.raises(ValueError, match="trust_code must be true .*programs"):
        CosmosTorchScript(path, video=True)
    with pytest.raises(ValueError, match=r"window must be 1 \+ a multiple of 4 frames, got 16"):
        CosmosTorchScript(path, video=True, trust_code=True, dtype="float32", window=16)
    (tmp_path / "encoder.jit").write_bytes(b"weights")
    with pytest.raises(ValueError, match="TorchScript files, got .*encoder.jit"):
        CosmosTorchScript(path, video=True, trust_code=True)
    with pytest.raises(ValueError, match="dtype must be one of"):
        CosmosTorchScript(path, dtype="int8")
