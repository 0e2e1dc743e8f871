"""diffusers' autoencoders behind the interface: tiny random models of the real classes, saved and loaded."""

import numpy as np
import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

from atoken.evaluation.models import diffusers_tokenizers as peers  # noqa: E402

from ...autoencoder_samples import COSMOS  # noqa: E402
from ...processing.samples import photo  # noqa: E402

BLOCKS = {
    "block_out_channels": (16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
WAN = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
# name -> (adapter, configuration, compression of frames and sides, channels)
PEERS = {
    "sd": (peers.KLTokenizer, {**BLOCKS, "latent_channels": 4}, (1, 2), 4),
    "va-vae": (
        peers.KLTokenizer,
        {
            "block_out_channels": (8,) * 5,
            "down_block_types": ("DownEncoderBlock2D",) * 5,
            "up_block_types": ("UpDecoderBlock2D",) * 5,
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "latent_channels": 32,
        },
        (1, 16),
        32,
    ),
    "wan-2.1": (peers.WanTokenizer, WAN, (4, 8), 4),
    "wan-2.2": (
        peers.WanTokenizer,
        {
            **WAN,
            "decoder_base_dim": 8,
            "z_dim": 6,
            "is_residual": True,
            "in_channels": 12,
            "out_channels": 12,
            "patch_size": 2,
            "scale_factor_spatial": 16,
            "latents_mean": [0.0] * 6,
            "latents_std": [1.0] * 6,
        },
        (4, 16),
        6,
    ),
    "hunyuan": (
        peers.HunyuanVideoTokenizer,
        {"latent_channels": 4, "block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4},
        (4, 8),
        4,
    ),
    "cosmos": (
        peers.CosmosTokenizer,
        COSMOS,
        (8, 8),
        4,
    ),
    "qwen-image": (peers.QwenImageTokenizer, WAN, (4, 8), 4),
    "dc": (
        peers.DCTokenizer,
        {
            "latent_channels": 4,
            "attention_head_dim": 2,
            "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "decoder_block_types": ("ResBlock", "EfficientViTBlock"),
            "encoder_block_out_channels": (8, 8),
            "decoder_block_out_channels": (8, 8),
            "encoder_qkv_multiscales": ((), (5,)),
            "decoder_qkv_multiscales": ((), (5,)),
            "encoder_layers_per_block": (1, 1),
            "decoder_layers_per_block": (1, 1),
            "downsample_block_type": "conv",
            "upsample_block_type": "interpolate",
            "decoder_norm_types": "rms_norm",
            "decoder_act_fns": "silu",
        },
        (1, 2),
        4,
    ),
    "vq": (peers.VQTokenizer, {**BLOCKS, "latent_channels": 3, "num_vq_embeddings": 50}, (1, 2), 3),
}


def _media(frames: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([photo(37, 50, seed) for seed in range(frames)])).permute(0, 3, 1, 2)


@pytest.fixture(scope="module", params=PEERS)
def peer(request, tmp_path_factory):
    adapter, config, compression, channels = PEERS[request.param]
    torch.manual_seed(0)
    model = getattr(diffusers, adapter.class_name)(**config).eval()
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return adapter(str(folder), latent_dtype="float32"), model, compression, channels


def _padded(media: torch.Tensor, compression: tuple[int, int]) -> torch.Tensor:
    """Pads to (1, 3, T, H, W) in [-1, 1], by repeating the last row, column and frame."""
    frames, (temporal, spatial) = len(media), compression
    rows = torch.arange(-(-37 // spatial) * spatial).clamp(max=36)
    columns = torch.arange(-(-50 // spatial) * spatial).clamp(max=49)
    times = torch.arange(1 + -(-(frames - 1) // temporal) * temporal).clamp(max=frames - 1)
    return (media[times][:, :, rows][..., columns].float() / 127.5 - 1).transpose(0, 1)[None]


@pytest.mark.parametrize("frames", [1, 6])
@torch.no_grad()
def test_round_trip_is_the_classes_own(peer, frames):
    tokenizer, model, compression, channels = peer
    media = _media(frames)
    encoded = tokenizer.encode(media)
    result = tokenizer.decode(encoded)
    assert result.shape == media.shape and result.dtype == torch.uint8
    pixels = _padded(media, compression)
    video = isinstance(tokenizer, peers.DiffusersTokenizer) and tokenizer.is_video
    if video:
        expected = model.decode(model.encode(pixels).latent_dist.mode()).sample
    elif tokenizer.class_name == "VQModel":
        expected = torch.stack([model.decode(model.encode(frame).latents).sample for frame in pixels.unbind(2)], 2)
    else:
        outputs = [model.encode(frame) for frame in pixels.unbind(2)]
        latents = [out.latent if hasattr(out, "latent") else out.latent_dist.mode() for out in outputs]
        expected = torch.stack([model.decode(latent).sample for latent in latents], 2)
    expected = ((expected[0].transpose(0, 1) + 1) * 127.5).round().clamp(0, 255)[:frames, :, :37, :50]
    assert (expected - result.float()).abs().max() <= 1  # rounding
    times, grid = pixels.shape[2], [side // compression[1] for side in pixels.shape[-2:]]
    times = 1 + (times - 1) // compression[0]
    if tokenizer.codebook_sizes:
        assert encoded.bits == times * grid[0] * grid[1] * 6 and encoded.latent_shape == (times, *grid)
        assert encoded.codes.shape == (times, *grid, 1) and encoded.codes.max() < 50
    else:
        assert encoded.latent_shape == (channels, times, *grid)
        assert encoded.bits == channels * times * grid[0] * grid[1] * 32
    assert torch.equal(tokenizer.decode(tokenizer.encode(media)), result)
    assert tokenizer.describe()["compression"] == [compression[0], compression[1], compression[1]]


def test_latents_are_rounded_as_they_are_stored(tmp_path):
    diffusers.AutoencoderKL(**PEERS["sd"][1]).save_pretrained(tmp_path)
    encoded = peers.KLTokenizer(str(tmp_path)).encode(_media(1))
    assert encoded.payload[0].dtype == torch.bfloat16 and encoded.bits == encoded.payload[0].numel() * 16


@torch.no_grad()
def test_tiles_begin_where_latents_do(tmp_path):
    """Uses other steps than the class's own of 448 pixels, which are not a whole number of its 128 x 128 codes."""
    torch.manual_seed(0)
    blocks = {
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in {
            "block_types": ("ResBlock",) * 8,
            "block_out_channels": (4,) * 8,
            "qkv_multiscales": ((),) * 8,
            "layers_per_block": (1,) * 8,
        }.items()
    }
    diffusers.AutoencoderDC(
        latent_channels=4, downsample_block_type="Conv", upsample_block_type="interpolate", **blocks
    ).save_pretrained(tmp_path)
    media = torch.from_numpy(photo(512, 1024, 0)).permute(2, 0, 1)[None]
    tiled = peers.DCTokenizer(str(tmp_path), latent_dtype="float32", tiling=True)
    encoded = tiled.encode(media)
    assert tiled.spatial == 128 and encoded.latent_shape == (4, 1, 4, 8)
    # Codes in the middle of the second tile, of which neither blending nor another tile's border is a part.
    second = tiled.encode(media[..., 384:896])
    torch.testing.assert_close(encoded.payload[0][..., 4:6], second.payload[0][..., 1:3])
    assert tiled.decode(encoded).shape == media.shape


@torch.no_grad()
def test_codes_of_a_model_that_looks_them_up_itself(tmp_path):
    torch.manual_seed(0)
    config = {**PEERS["vq"][1], "lookup_from_codebook": True}
    model = diffusers.VQModel(**config).eval()
    model.save_pretrained(tmp_path)
    tokenizer, media = peers.VQTokenizer(str(tmp_path)), _media(2)
    encoded = tokenizer.encode(media)
    codes = encoded.codes[..., 0]
    shape = (*codes.shape, model.quantize.vq_embed_dim)
    expected = model.decode(codes.flatten(), force_not_quantize=True, shape=shape).sample
    expected = ((expected + 1) * 127.5).round().clamp(0, 255)[..., :37, :50]
    assert (expected - tokenizer.decode(encoded).float()).abs().max() <= 1  # rounding


def test_what_is_missing_or_wrong_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="hf download"):
        peers.WanTokenizer(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="latent_dtype"):
        peers.KLTokenizer(str(tmp_path), latent_dtype="int8")
    diffusers.VQModel(**PEERS["vq"][1]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="tiling must be false for VQModel, got true"):
        peers.VQTokenizer(str(tmp_path), tiling=True)
    diffusers.AutoencoderKLCosmos(**PEERS["cosmos"][1]).save_pretrained(tmp_path / "cosmos")
    with pytest.raises(ValueError, match="tiling must be false for AutoencoderKLCosmos, got true"):
        peers.CosmosTokenizer(str(tmp_path / "cosmos"), tiling=True)
