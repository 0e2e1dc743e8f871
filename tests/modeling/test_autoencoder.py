"""AutoencoderAtoken: the same numbers as AtokenModel behind the interface of diffusers, and real pipelines on it."""

import importlib.util
import json
import pickle
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import Siglip2TextConfig, conversion_mapping

import atoken
from atoken import AtokenConfig, AtokenGaussianDecoder, AtokenModel, AtokenVisionModel
from atoken.conversion_atoken import convert_original_checkpoint
from atoken.tokens_atoken import unpatchify

diffusers = pytest.importorskip("diffusers")

from atoken.autoencoder_atoken import AutoencoderAtoken, QuantizedDistribution  # noqa: E402

GOLDEN = Path(__file__).parents[1] / "golden"
PACKAGE = Path(atoken.__file__).parent
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "position_embedding_size": 4,
}
QUANTIZER = {"num_codebooks": 2, "codebook_dim": 3, "levels": 4}

pytestmark = pytest.mark.filterwarnings("ignore:A video of")


def make_model(**config) -> AtokenModel:
    torch.manual_seed(0)
    config = {"vision_config": TOWER, "decoder_config": TOWER, "latent_channels": 6, **config}
    model = AtokenModel(AtokenConfig(**config)).eval()
    with torch.no_grad():  # the usual initialization is so small that everything would agree with everything
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model.requires_grad_(False)


def make_video(batch: int, frames: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, frames, 32, 48, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def model() -> AtokenModel:
    return make_model(latents_mean=[0.5] * 6, latents_std=[2.0] * 6)


@pytest.fixture(scope="module")
def discrete_model() -> AtokenModel:
    return make_model(quantizer_config=QUANTIZER)


@pytest.fixture
def vae(model) -> AutoencoderAtoken:
    return AutoencoderAtoken.from_atoken_model(model)


@pytest.fixture
def discrete_vae(discrete_model) -> AutoencoderAtoken:
    return AutoencoderAtoken.from_atoken_model(discrete_model)


@pytest.fixture(scope="module")
def golden():
    model = convert_original_checkpoint(GOLDEN / "continuous.weights.safetensors", encoder_num_heads=2)
    vae = AutoencoderAtoken.from_atoken_model(model.requires_grad_(False))
    return vae, load_file(GOLDEN / "continuous.tensors.safetensors")


def close(actual: torch.Tensor, expected: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == {name for name in theirs if name.split(".")[0] in ("vision_model", "latent_proj", "decoder")}
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


class TestNumbers:
    @pytest.mark.parametrize("frames", [1, 3, 16, 17, 20])
    @pytest.mark.parametrize("kind", ["continuous", "discrete"])
    def test_video_equals_atoken_model(self, request, kind, frames):
        model = request.getfixturevalue("model" if kind == "continuous" else "discrete_model")
        vae = AutoencoderAtoken.from_atoken_model(model)
        video = make_video(2, frames)
        expected = model.encode(video.transpose(1, 2))
        grid = (2, -(-frames // 4), 2, 3)
        latents = expected.latents.unflatten(0, grid)
        encoded = vae.encode(video)
        close(encoded.latent_dist.mode(), latents.movedim(-1, 1))
        close(encoded.latents, latents.movedim(-1, 1))
        if kind == "continuous":
            close(encoded.latent_dist.logvar, expected.latent_dist.logvar.unflatten(0, grid).movedim(-1, 1))
            close(encoded.latent_dist.kl(), expected.latent_dist.kl().view(2, -1).sum(1), atol=1e-3)
            assert encoded.codes is None
        else:
            assert torch.equal(encoded.codes, expected.codes.unflatten(0, grid).movedim(-1, 1))
        decoded = model.decode(latents).pixel_values.transpose(1, 2)
        close(vae.decode(encoded.latents, num_frames=frames).sample, decoded[:, :, :frames])
        close(vae(video).sample, decoded[:, :, :frames])

    def test_image_equals_atoken_model_and_one_frame(self, model, vae):
        image = make_video(2, 1)[:, :, 0]
        expected = model.encode(image)
        latents = expected.latents.unflatten(0, (2, 1, 2, 3))
        encoded = vae.encode(image)
        assert encoded.latents.shape == (2, 6, 2, 3)
        close(encoded.latents, latents[:, 0].movedim(-1, 1))
        decoded = vae.decode(encoded.latents).sample
        close(decoded, model.decode(latents).pixel_values[:, 0])
        close(vae.encode(image[:, :, None]).latents[:, :, 0], encoded.latents)
        close(vae.decode(encoded.latents[:, :, None]).sample[:, :, 0], decoded)
        close(vae(image).sample, decoded)

    def test_golden_image(self, golden):
        vae, tensors = golden
        posterior = vae.encode(tensors["image.input"].movedim(-1, 0)[None]).latent_dist
        mean, logvar = tensors["image.moments"].view(1, 3, 4, 16).movedim(-1, 1).chunk(2, dim=1)
        close(posterior.mean, mean, atol=2e-5)
        close(posterior.logvar, logvar, atol=2e-5)
        expected = unpatchify(tensors["image.decoded"].view(1, 1, 3, 4, 3072), (4, 16, 16))
        close(vae.decode(posterior.mode()).sample, expected[:, 0], atol=2e-5)

    @pytest.mark.parametrize("stride, cache", [(None, None), (12, 4), (8, 8)])
    def test_golden_video(self, golden, stride, cache):
        vae, tensors = golden
        posterior = vae.encode(tensors["video.input"].movedim(-1, 0)[None]).latent_dist
        mean, logvar = tensors["video.moments"].view(1, 5, 2, 3, 16).movedim(-1, 1).chunk(2, dim=1)
        close(posterior.mean, mean, atol=2e-5)
        close(posterior.logvar, logvar, atol=2e-5)
        name = "video.decoded"
        if stride:
            name += f"_stride{stride}_cache{cache}"
            vae.enable_tiling(tile_frames=stride, cache_frames=cache)
        decoded = vae.decode(mean, num_frames=20).sample
        vae.disable_tiling()
        expected = unpatchify(tensors[name].view(1, 5, 2, 3, 3072), (4, 16, 16))
        close(decoded, expected.transpose(1, 2), atol=2e-5)

    def test_pooling_head_does_not_run(self, vae, monkeypatch):
        monkeypatch.setattr(vae.vision_model.head, "forward", None)
        vae(make_video(1, 4))

    def test_reduced_precision_casts_the_input(self):
        vae = AutoencoderAtoken.from_atoken_model(make_model()).to(torch.bfloat16)
        encoded = vae.encode(make_video(1, 5))
        assert encoded.latents.dtype == torch.bfloat16
        sample = vae.decode(encoded.latents.float()).sample
        assert sample.dtype == torch.bfloat16 and sample.isfinite().all()

    def test_compiles_without_graph_breaks(self, vae):
        latents = vae.encode(make_video(1, 5)).latents
        decode = torch.compile(vae.decode, backend="eager", fullgraph=True)
        close(decode(latents).sample, vae.decode(latents).sample)


class TestFrames:
    @pytest.mark.parametrize("frames, trimmed", [(1, 1), (4, 1), (16, 13), (17, 17), (20, 17)])
    def test_trimming(self, vae, frames, trimmed):
        video = make_video(1, frames)
        latents = vae.encode(video).latents
        whole = -(-frames // 4) * 4
        assert vae.decode(latents).sample.shape[2] == trimmed
        assert vae.decode(latents, num_frames=frames).sample.shape[2] == frames
        assert vae(video).sample.shape == video.shape
        vae.register_to_config(trim_to_causal_length=False)
        assert vae.decode(latents).sample.shape[2] == whole

    def test_encode_warns_only_when_frames_would_be_lost(self, vae):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            vae.encode(make_video(1, 17))
            vae(make_video(1, 16))
            with pytest.raises(UserWarning, match="16 frames will be decoded to 13"):
                vae.encode(make_video(1, 16))
            vae.register_to_config(trim_to_causal_length=False)
            vae.encode(make_video(1, 16))


class TestDistribution:
    def test_continuous_samples(self, vae):
        posterior = vae.encode(make_video(2, 5)).latent_dist
        draws = [posterior.sample(torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
        assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(3))
        close(draws[0], posterior.mean + (posterior.logvar / 2).exp() * noise)

    def test_discrete_is_deterministic_and_decodes_as_it_is(self, discrete_model, discrete_vae):
        video = make_video(2, 5)
        encoded = discrete_vae.encode(video)
        posterior = encoded.latent_dist
        assert isinstance(posterior, QuantizedDistribution)
        assert torch.equal(posterior.mode(), posterior.sample(torch.Generator()))
        assert set(posterior.mode().unique().tolist()) <= {-1.0, -0.5, 0.0, 0.5}
        assert posterior.kl().shape == (2,) and not posterior.kl().any()
        assert not posterior.logvar.exp().any()
        assert encoded.codes.shape == (2, 2, 2, 2, 3) and encoded.codes.dtype == torch.int64
        assert torch.equal(discrete_vae.latents_from_codes(encoded.codes), posterior.mode())
        expected = discrete_model.decode(codes=encoded.codes.movedim(1, -1)).pixel_values.transpose(1, 2)
        close(discrete_vae.decode(posterior.mode(), num_frames=5).sample, expected[:, :, :5])

    def test_return_dict(self, vae):
        video = make_video(1, 5)
        (posterior,) = vae.encode(video, return_dict=False)
        (sample,) = vae.decode(posterior.mode(), return_dict=False)
        assert torch.equal(sample, vae(video, return_dict=False)[0])
        drawn = vae(video, sample_posterior=True, generator=torch.Generator().manual_seed(0)).sample
        assert not torch.equal(drawn, sample)
        listed = vae(video, sample_posterior=True, generator=[torch.Generator().manual_seed(0)]).sample
        assert torch.equal(listed, drawn)


class TestMemory:
    @pytest.mark.parametrize("kind", ["vae", "discrete_vae"])
    @pytest.mark.parametrize("frames", [None, 21])
    def test_slicing_changes_nothing(self, request, kind, frames):
        vae = request.getfixturevalue(kind)
        x = make_video(3, frames) if frames else make_video(3, 1)[:, :, 0]
        encoded, decoded = vae.encode(x), vae(x).sample
        vae.enable_slicing()
        seen = record_batches(vae)
        close(vae.encode(x).latents, encoded.latents)
        close(vae(x).sample, decoded)
        assert set(seen) == {1}
        vae.disable_slicing()
        assert not vae.use_slicing

    def test_tiling_runs_tiles_alone_and_changes_nothing(self, vae):
        video = make_video(2, 41)
        encoded, decoded = vae.encode(video).latents, vae(video).sample
        vae.enable_tiling()
        seen = []
        hook = vae.vision_model.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[0]))
        close(vae.encode(video).latents, encoded)
        hook.remove()
        assert seen == [24] * 4 + [18] * 2  # tokens: 16 frames are 4 x 2 x 3, the last 9 are 3 x 2 x 3
        close(vae(video).sample, decoded)

    def test_tiling_options(self, vae, model):
        video = make_video(1, 17)
        vae.enable_tiling(tile_frames=8, cache_frames=4)
        latents = vae.encode(video).latents
        expected = model.encode(video.transpose(1, 2), tile_frames=8).latents
        close(latents.movedim(1, -1).flatten(0, 3), expected)
        grid = expected.unflatten(0, (1, 5, 2, 3))
        decoded = model.decode(grid, tile_frames=8, cache_frames=4).pixel_values.transpose(1, 2)[:, :, :17]
        close(vae.decode(latents).sample, decoded)
        vae.disable_tiling()
        assert (vae.decode(latents).sample - decoded).abs().max() > 1e-3
        for options in ({"tile_frames": 6}, {"tile_frames": 0}, {"cache_frames": 3}, {"cache_frames": -4}):
            with pytest.raises(ValueError, match=next(iter(options))):
                vae.enable_tiling(**options)
        assert not vae.use_tiling

    @pytest.mark.parametrize(
        "names",
        [
            ["tile_sample_min_height"],
            ["tile_sample_min_width", "tile_sample_stride_width"],
            ["tile_overlap_factor_height"],
            ["tile_latent_min_size"],
        ],
    )
    def test_space_is_not_tiled(self, vae, names):
        with pytest.raises(ValueError, match=f"^{names[0]} must be None, got 0.25: space is not tiled"):
            vae.enable_tiling(**dict.fromkeys(names, 0.25))
        assert not vae.use_tiling
        vae.enable_tiling(**dict.fromkeys(names))
        assert vae.use_tiling
        with pytest.raises(TypeError, match="unexpected keyword argument 'tiles'"):
            vae.enable_tiling(tiles=2)

    def test_tiles_in_time_by_the_names_of_diffusers(self, vae):
        vae.enable_tiling(tile_sample_min_num_frames=8, tile_sample_stride_num_frames=8)
        assert (vae.use_tiling, vae.tile_frames, vae.cache_frames) == (True, 8, None)
        for options, message in (
            ({"tile_sample_min_num_frames": 6}, "tile_sample_min_num_frames must be a multiple of 4"),
            ({"tile_sample_min_num_frames": 16, "tile_sample_stride_num_frames": 12}, "tiles do not overlap in time"),
            ({"tile_sample_min_num_frames": 16, "tile_frames": 8}, "must be equal if both are given"),
        ):
            with pytest.raises(ValueError, match=message):
                vae.enable_tiling(**options)

    def test_gradient_checkpointing(self):
        vae = AutoencoderAtoken.from_atoken_model(make_model().requires_grad_(True)).train()
        video, calls = make_video(1, 5), []

        def gradients():
            vae.zero_grad()
            vae(
                video, sample_posterior=True, generator=torch.Generator().manual_seed(0)
            ).sample.square().mean().backward()
            return {name: p.grad.clone() for name, p in vae.named_parameters() if p.grad is not None}

        def checkpoint(function, *args):
            calls.append(function)
            return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False)

        expected = gradients()
        vae.enable_gradient_checkpointing()
        assert vae.is_gradient_checkpointing
        for name, gradient in gradients().items():
            close(gradient, expected[name])
        vae.enable_gradient_checkpointing(checkpoint)
        assert gradients().keys() == expected.keys() and len(calls) == 4  # two blocks on either side
        vae.disable_gradient_checkpointing()
        assert not vae.is_gradient_checkpointing
        # Only the pooling head takes no part.
        assert {name for name, _ in vae.named_parameters()} - expected.keys() == {
            name for name, _ in vae.named_parameters() if name.startswith("vision_model.head.")
        }

    @pytest.mark.parametrize("compute_dtype", [torch.float32, torch.bfloat16])
    def test_layerwise_casting(self, compute_dtype):
        vae = AutoencoderAtoken.from_atoken_model(make_model())
        video = make_video(1, 5)
        expected = vae(video).sample
        vae.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=compute_dtype)
        assert vae.decoder.blocks[0].mlp.fc1.weight.dtype == torch.float8_e4m3fn
        assert vae.vision_model.input_layer.weight.dtype == compute_dtype
        sample = vae(video).sample
        assert sample.dtype == compute_dtype and (sample - expected).abs().mean() < 0.2 * expected.abs().mean()


def record_batches(vae: AutoencoderAtoken) -> list[int]:
    """Batch sizes that the encoder and the decoder see from now on."""
    seen = []
    for module in (vae.vision_model, vae.decoder):
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[0]))
    return seen


class TestConfig:
    def test_what_pipelines_read(self, vae):
        config = vae.config
        assert (config.z_dim, config.latent_channels) == (6, 6)
        assert (config.scale_factor_temporal, config.scale_factor_spatial) == (4, 16)
        assert (vae.temporal_compression_ratio, vae.spatial_compression_ratio) == (4, 16)
        assert vae.temperal_downsample == [False, True, True, False]
        assert 2 ** (len(config.block_out_channels) - 1) == 16
        assert (config.scaling_factor, config.shift_factor, config.timestep_conditioning) == (1.0, 0.0, False)
        assert config.latents_mean == [0.5] * 6 and config.latents_std == [2.0] * 6
        assert torch.equal(vae.latents_mean, torch.full((6,), 0.5)) and torch.equal(
            vae.latents_std, torch.full((6,), 2.0)
        )
        assert not list(vae.buffers())
        assert json.loads(vae.to_json_string())["vision_config"]["hidden_size"] == 32

    def test_statistics_default_to_none_applied(self, discrete_vae):
        assert discrete_vae.config.latents_mean == [0.0] * 6 and discrete_vae.config.latents_std == [1.0] * 6

    def test_other_patch(self):
        tower = {**TOWER, "patch_size": (2, 8, 8)}
        vae = AutoencoderAtoken(vision_config=tower, decoder_config=tower, latent_channels=4)
        assert vae.temperal_downsample == [False, True, False] and len(vae.config.block_out_channels) == 4
        assert vae.encode(torch.zeros(1, 3, 3, 16, 24)).latents.shape == (1, 4, 2, 2, 3)
        assert vae(torch.zeros(1, 3, 3, 16, 24)).sample.shape == (1, 3, 3, 16, 24)

    def test_from_config(self, vae):
        again = AutoencoderAtoken.from_config(vae.config)
        assert {k: v for k, v in again.config.items() if k[0] != "_"} == {
            k: v for k, v in vae.config.items() if k[0] != "_"
        }

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"z_dim": 16}, "z_dim must be 6"),
            ({"scale_factor_temporal": 8}, "scale_factor_temporal must be 4"),
            ({"scale_factor_spatial": 8}, "scale_factor_spatial must be 16"),
            ({"block_out_channels": [1, 2]}, "block_out_channels must have 5"),
            ({"timestep_conditioning": True}, "timestep_conditioning"),
            ({"latents_mean": [0.0]}, "latents_mean must have"),
            ({"quantizer_config": {}}, "latent_channels must be"),
            ({"vision_config": {**TOWER, "hidden_size": 33}}, "hidden_size must be divisible"),
            ({"decoder_config": {**TOWER, "patch_size": [4, 8, 8]}}, "decoder_config.patch_size"),
            (
                {name: {**TOWER, "patch_size": [4, 14, 14]} for name in ("vision_config", "decoder_config")},
                "vision_config.patch_size",
            ),
        ],
    )
    def test_arguments_that_do_not_fit(self, arguments, message):
        arguments = {"vision_config": TOWER, "decoder_config": TOWER, "latent_channels": 6, **arguments}
        with pytest.raises(ValueError, match=message):
            AutoencoderAtoken(**arguments)


class TestBadInput:
    @pytest.mark.parametrize(
        "x, message",
        [
            (torch.zeros(3, 32, 32), r"must be \(B, 3, H, W\)"),
            (torch.zeros(1, 4, 32, 32), r"must be \(B, 3, H, W\)"),
            (torch.zeros(1, 17, 3, 32, 32), r"must be \(B, 3, H, W\) or \(B, 3, T, H, W\)"),
            (torch.zeros(1, 3, 0, 32, 32), "not empty"),
            (torch.zeros(1, 3, 32, 40), "multiples of 16, got 32 x 40"),
            (torch.zeros(1, 3, 5, 30, 32), "multiples of 16, got 30 x 32"),
            (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "floating point"),
        ],
    )
    def test_media(self, vae, x, message):
        with pytest.raises(ValueError, match=f"^x .*{message}"):
            vae.encode(x)
        with pytest.raises(ValueError, match="^sample must"):
            vae(x)

    @pytest.mark.parametrize(
        "z, message",
        [
            (torch.zeros(6, 2, 2), r"z must be \(B, 6, h, w\)"),
            (torch.zeros(1, 5, 2, 2), r"z must be \(B, 6, h, w\)"),
            (torch.zeros(1, 2, 6, 2, 2), r"z must be \(B, 6, h, w\)"),
            (torch.zeros(1, 6, 0, 2, 2), "not empty"),
            (torch.zeros(1, 6, 2, 2, dtype=torch.int64), "z must be floating point"),
        ],
    )
    def test_latents(self, vae, z, message):
        with pytest.raises(ValueError, match=message):
            vae.decode(z)

    def test_decode_options(self, vae):
        for frames in (4, 9):
            with pytest.raises(ValueError, match="num_frames must be from 5 to 8"):
                vae.decode(torch.zeros(1, 6, 2, 2, 2), num_frames=frames)
        with pytest.raises(ValueError, match="num_frames must be None or 1"):
            vae.decode(torch.zeros(1, 6, 2, 2), num_frames=2)
        with pytest.raises(ValueError, match="temb must be None"):
            vae.decode(torch.zeros(1, 6, 2, 2), False)

    def test_codes(self, vae, discrete_vae):
        with pytest.raises(ValueError, match="codes need a discrete model"):
            vae.latents_from_codes(torch.zeros(1, 2, 2, 2, dtype=torch.int64))
        with pytest.raises(ValueError, match=r"codes must be \(B, 2, h, w\)"):
            discrete_vae.latents_from_codes(torch.zeros(1, 3, 2, 2, dtype=torch.int64))
        with pytest.raises(ValueError, match="codes must be in"):
            discrete_vae.latents_from_codes(torch.full((1, 2, 2, 2), 64))


class TestFiles:
    @pytest.mark.parametrize("low_cpu_mem_usage", [True, False])
    @pytest.mark.parametrize("kind", ["vae", "discrete_vae"])
    def test_round_trip(self, request, tmp_path, kind, low_cpu_mem_usage):
        vae = request.getfixturevalue(kind)
        vae.save_pretrained(tmp_path)
        assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
        config = json.loads((tmp_path / "config.json").read_text())
        assert config["_class_name"] == "AutoencoderAtoken" and config["z_dim"] == 6
        again, info = AutoencoderAtoken.from_pretrained(
            tmp_path, low_cpu_mem_usage=low_cpu_mem_usage, output_loading_info=True
        )
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert not again.training and not any(tensor.is_meta for tensor in again.state_dict().values())
        same_weights(again, vae)
        video = make_video(1, 5)
        assert torch.equal(again(video).sample, vae(video).sample)

    @pytest.mark.parametrize("name", ["torch_dtype", "dtype"])
    def test_dtype_and_overrides(self, tmp_path, model, vae, name):
        vae.save_pretrained(tmp_path / "own")
        model.save_pretrained(tmp_path / "whole")
        for folder in ("own", "whole"):
            options = {name: torch.bfloat16, "trim_to_causal_length": False, "scaling_factor": 0.5}
            again = AutoencoderAtoken.from_pretrained(tmp_path / folder, **options)
            assert {parameter.dtype for parameter in again.parameters()} == {torch.bfloat16}
            assert again.dtype == torch.bfloat16
            assert not again.config.trim_to_causal_length and again.config.scaling_factor == 0.5
            assert again.encode(make_video(1, 5)).latents.dtype == torch.bfloat16

    @pytest.mark.parametrize("shard_size", ["5GB", "40KB"])
    def test_from_a_whole_model(self, tmp_path, shard_size):
        text = {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 16,
            "max_position_embeddings": 8,
            "projection_size": 32,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        model = make_model(text_config=Siglip2TextConfig(**text), latents_mean=[0.5] * 6, latents_std=[2.0] * 6)
        model.save_pretrained(tmp_path / "sub", max_shard_size=shard_size)
        assert (tmp_path / "sub" / "model.safetensors.index.json").is_file() == (shard_size == "40KB")
        video = make_video(1, 5)
        expected = AutoencoderAtoken.from_atoken_model(model)(video).sample
        for arguments in ({"pretrained_model_name_or_path": tmp_path / "sub"}, {"subfolder": "sub"}):
            arguments = {"pretrained_model_name_or_path": tmp_path, **arguments}
            vae, info = AutoencoderAtoken.from_pretrained(**arguments, output_loading_info=True)
            assert not info["missing_keys"] and not info["unexpected_keys"]
            same_weights(vae, model)
            assert vae.config.latents_mean == [0.5] * 6 and vae.config.latents_std == [2.0] * 6
            assert not vae.training and vae.dtype == torch.float32
            close(vae(video).sample, expected)

    @pytest.mark.parametrize("name", ["continuous", "discrete"])
    def test_single_file_of_the_authors(self, tmp_path, name):
        weights = GOLDEN / f"{name}.weights.safetensors"
        options = {"encoder_num_heads": 2, "quantizer": "fsq" if name == "discrete" else None}
        expected = AutoencoderAtoken.from_atoken_model(convert_original_checkpoint(weights, **options))
        torch.save(load_file(weights), tmp_path / "weights.pt")
        for path in (weights, str(tmp_path / "weights.pt")):
            vae = AutoencoderAtoken.from_single_file(path, **options, scaling_factor=0.5, local_files_only=True)
            same_weights(vae, expected)
            assert not vae.training and vae.config.scaling_factor == 0.5
            assert (vae.quantizer is not None) == (name == "discrete")
        half = AutoencoderAtoken.from_single_file(weights, **options, torch_dtype=torch.bfloat16)
        assert half.dtype == torch.bfloat16

    def test_other_single_files(self, tmp_path):
        torch.save({"a": torch.zeros(2)}, tmp_path / "foreign.pt")
        (tmp_path / "code.pt").write_bytes(pickle.dumps(print))
        weights = GOLDEN / "continuous.weights.safetensors"
        for path, options, message in (
            (tmp_path / "foreign.pt", {}, "not an AToken checkpoint"),
            (tmp_path / "code.pt", {}, "cannot be read"),
            ("https://huggingface.co/someone/atoken/blob/main/atoken.pt", {}, "must be a file on this machine"),
            (weights, {"encoder_num_heads": 2, "config": "someone/atoken"}, "config cannot be given"),
            (weights, {"encoder_num_heads": 2, "latent_channels": 4}, "latent_channels cannot be given"),
        ):
            with pytest.raises(ValueError, match=message):
                AutoencoderAtoken.from_single_file(path, **options)
        with pytest.raises(FileNotFoundError, match="nothing.pt"):
            AutoencoderAtoken.from_single_file(tmp_path / "nothing.pt")

    def test_quantizer_comes_along(self, tmp_path, discrete_model):
        discrete_model.save_pretrained(tmp_path)
        vae = AutoencoderAtoken.from_pretrained(tmp_path)
        assert vae.config.quantizer_config == QUANTIZER
        assert vae.encode(make_video(1, 5)).codes.max() > 0

    def test_no_gaussian_decoder_is_made(self, tmp_path, monkeypatch):
        size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        make_model(gaussian_config=size).save_pretrained(tmp_path)
        monkeypatch.setattr(AtokenGaussianDecoder, "__init__", None)
        assert AutoencoderAtoken.from_pretrained(tmp_path).decoder is not None

    def test_modules_are_shared(self, model, vae):
        assert vae.decoder is model.decoder and vae.vision_model is model.vision_model
        assert not hasattr(vae, "text_model") and not hasattr(vae, "logit_scale")

    def test_something_else(self, tmp_path, model, vae):
        model.vision_model.save_pretrained(tmp_path / "tower")
        with pytest.raises(ValueError, match="atoken_vision_model"):
            AutoencoderAtoken.from_pretrained(tmp_path / "tower")
        with pytest.raises(ValueError, match="model must be an AtokenModel, got AtokenVisionModel"):
            AutoencoderAtoken.from_atoken_model(AtokenVisionModel(model.config.vision_config))
        model.save_pretrained(tmp_path / "whole")
        with pytest.raises(ValueError, match="latent_channels cannot be given"):
            AutoencoderAtoken.from_pretrained(tmp_path / "whole", latent_channels=4)
        with pytest.raises(ValueError, match="quantization_config cannot be used"):
            AutoencoderAtoken.from_pretrained(tmp_path / "whole", quantization_config=object())
        with pytest.raises(OSError):
            AutoencoderAtoken.from_pretrained(tmp_path / "nothing", local_files_only=True)

    def test_remote_code(self, tmp_path, vae, monkeypatch):
        """A folder that carries the code, read without the package's own classes."""
        from diffusers.utils import dynamic_modules_utils

        monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
        monkeypatch.syspath_prepend(str(tmp_path / "modules"))
        folder = tmp_path / "vae"
        vae.save_pretrained(folder)
        for file in PACKAGE.glob("*_atoken.py"):
            shutil.copy(file, folder)
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = {"AutoModel": "autoencoder_atoken.AutoencoderAtoken"}
        (folder / "config.json").write_text(json.dumps(config))
        remote = diffusers.AutoModel.from_pretrained(str(folder), trust_remote_code=True)
        assert type(remote) is not AutoencoderAtoken and type(remote).__name__ == "AutoencoderAtoken"
        video = make_video(1, 5)
        assert torch.equal(remote(video).sample, vae(video).sample)


def test_without_diffusers(monkeypatch):
    """The package imports, and only the name of the autoencoder complains."""
    for name in ["diffusers", *(name for name in sys.modules if name.startswith("diffusers."))]:
        monkeypatch.setitem(sys.modules, name, None)
    autos = ("AutoConfig", "AutoModel", "AutoImageProcessor", "AutoVideoProcessor", "AutoProcessor")
    for auto in (*autos, "AutoModelForZeroShotImageClassification"):
        # The second copy of the classes must not take the place of the first for other tests.
        monkeypatch.setattr(getattr(transformers, auto), "register", lambda *args, **options: None)
    # Nor its conversion of weights, which would be pickled with models of the first.
    monkeypatch.setattr(conversion_mapping, "register_checkpoint_conversion_mapping", lambda *args, **options: None)
    folders = [str(PACKAGE), str(Path(atoken.processing.__file__).parents[1])]  # the second holds `processing`
    spec = importlib.util.spec_from_file_location(
        "atoken_without_diffusers", PACKAGE / "__init__.py", submodule_search_locations=folders
    )
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, package)
    try:
        spec.loader.exec_module(package)
        assert package.AtokenModel and "AutoencoderAtoken" not in package.__all__
        with pytest.raises(ImportError, match=r'pip install "atoken\[diffusers\]"'):
            exec(f"from {spec.name} import AutoencoderAtoken")
        with pytest.raises(AttributeError, match="nothing_else"):
            package.nothing_else  # noqa: B018
    finally:
        for name in [name for name in sys.modules if name.startswith(spec.name)]:
            sys.modules.pop(name)


def test_public_name():
    assert atoken.AutoencoderAtoken is AutoencoderAtoken and "AutoencoderAtoken" in atoken.__all__
