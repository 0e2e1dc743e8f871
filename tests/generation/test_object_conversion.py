"""Converters of TRELLIS's files, back and forth, and its whole folder."""

import json

import pytest
import torch
from safetensors.torch import save_file

from atoken.generation import (
    convert_sparse_structure_autoencoder,
    convert_sparse_structure_flow,
    convert_structured_latent_flow,
    convert_trellis_folder,
    to_official_sparse_structure_autoencoder,
    to_official_sparse_structure_flow,
    to_official_structured_latent_flow,
)

from .test_object_flows_golden import LATENT_WEIGHTS, LATENTS, STRUCTURE, STRUCTURE_WEIGHTS, part

ENCODER, DECODER, FLOW = (part(STRUCTURE_WEIGHTS, f"{name}.") for name in ("encoder", "decoder", "flow"))


def assert_same(given: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 0) -> None:
    assert given.keys() == expected.keys()
    for name, value in given.items():
        torch.testing.assert_close(value, expected[name].float(), rtol=0, atol=tolerance)


def test_names_go_back():
    halves = to_official_sparse_structure_autoencoder(convert_sparse_structure_autoencoder(ENCODER, DECODER))
    assert_same(halves[0], ENCODER)
    assert_same(halves[1], DECODER)
    official = to_official_sparse_structure_flow(convert_sparse_structure_flow(FLOW))
    assert_same({"pos_emb": official.pop("pos_emb")}, {"pos_emb": FLOW["pos_emb"]}, 1e-6)
    assert_same(official, {name: value for name, value in FLOW.items() if name != "pos_emb"})
    assert_same(to_official_structured_latent_flow(convert_structured_latent_flow(LATENT_WEIGHTS)), LATENT_WEIGHTS)


def test_sizes_are_read_from_tensors():
    config, expected = convert_sparse_structure_autoencoder(ENCODER, DECODER).config, STRUCTURE["encoder"]
    assert tuple(config.block_out_channels) == tuple(expected["channels"])
    assert config.latent_channels == expected["latent_channels"] and config.in_channels == expected["in_channels"]
    assert config.layers_per_block == expected["num_res_blocks"]
    assert config.mid_layers == expected["num_res_blocks_middle"]
    stages = (
        (convert_sparse_structure_flow(FLOW).config, STRUCTURE["ss_flow"]),
        (convert_structured_latent_flow(LATENT_WEIGHTS).config, LATENTS["slat_flow"]),
    )
    names = {
        "sample_size": "resolution",
        "in_channels": "in_channels",
        "num_layers": "num_blocks",
        "num_attention_heads": "num_heads",
        "cross_attention_dim": "cond_channels",
        "mlp_ratio": "mlp_ratio",
        "qk_norm": "qk_rms_norm",
    }
    for config, expected in stages:
        assert {ours: config[ours] for ours in names} == {ours: expected[theirs] for ours, theirs in names.items()}
    assert [config.io_channels] == expected["io_block_channels"] and config.io_layers == expected["num_io_res_blocks"]
    assert config.pool_counts_zero


@pytest.mark.parametrize("with_cross", [False, True])
def test_models_without_norms_of_heads_and_with_more_of_them(with_cross):
    plain = {name: value for name, value in FLOW.items() if "rms_norm" not in name}
    with pytest.raises(ValueError, match="num_attention_heads must be given: no tensor of file shows it"):
        convert_sparse_structure_flow(plain)
    assert convert_sparse_structure_flow(plain, num_attention_heads=2).config.attention_head_dim == 20
    with pytest.raises(ValueError, match="num_attention_heads must divide the width 40, got 7"):
        convert_sparse_structure_flow(plain, num_attention_heads=7)
    if with_cross:
        more = {n.replace("self_attn", "cross_attn"): v for n, v in FLOW.items() if "self_attn" in n and "rms" in n}
        model = convert_sparse_structure_flow({**FLOW, **more})
        assert model.config.qk_norm_cross
        assert to_official_sparse_structure_flow(model).keys() == {*FLOW, *more}


def test_keys():
    with pytest.raises(ValueError, match=r"file has keys without a place: \['extra'\]; and lacks keys: none"):
        convert_sparse_structure_flow({**FLOW, "extra": torch.zeros(1)})
    cut = {name: value for name, value in LATENT_WEIGHTS.items() if name != "out_blocks.1.conv2.conv.bias"}
    with pytest.raises(ValueError, match=r"lacks keys: \['out_blocks.1.conv2.conv.bias'\]"):
        convert_structured_latent_flow(cut)
    with pytest.raises(ValueError, match="file: this is no checkpoint of this generator, it lacks pos_emb"):
        convert_sparse_structure_flow(LATENT_WEIGHTS)
    with pytest.raises(ValueError, match="file: pos_emb must hold the sines and cosines"):
        convert_sparse_structure_flow({**FLOW, "pos_emb": FLOW["pos_emb"] + 0.1})
    with pytest.raises(ValueError, match="decoder: this is no checkpoint of this generator"):
        convert_sparse_structure_autoencoder(ENCODER, {"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="encoder and decoder must have the same sizes"):
        convert_sparse_structure_autoencoder(ENCODER, ENCODER)


def test_files(tmp_path):
    save_file({name: value.half() for name, value in FLOW.items()}, tmp_path / "flow.safetensors")
    model = convert_sparse_structure_flow(tmp_path / "flow.safetensors")
    assert model.dtype == torch.float32
    with pytest.raises(FileNotFoundError, match="encoder: there is no file"):
        convert_sparse_structure_autoencoder(tmp_path / "none.safetensors", DECODER)


def released(folder, change=None):
    """Writes a folder as TRELLIS's is, of the golden weights; `change` edits `pipeline.json`."""
    (folder / "ckpts").mkdir()
    for name, weights, options in (
        ("ss_enc_tiny", ENCODER, STRUCTURE["encoder"]),
        ("ss_dec_tiny", DECODER, STRUCTURE["decoder"]),
        ("ss_flow_tiny", FLOW, STRUCTURE["ss_flow"]),
        ("slat_flow_tiny", LATENT_WEIGHTS, LATENTS["slat_flow"]),
    ):
        save_file(weights, folder / f"ckpts/{name}.safetensors")
        (folder / f"ckpts/{name}.json").write_text(json.dumps({"name": "any", "args": options}))
    sampler = {"name": "FlowEulerGuidanceIntervalSampler", "args": {"sigma_min": 1e-5}}
    entries = {
        "models": {
            "sparse_structure_decoder": "ckpts/ss_dec_tiny",
            "sparse_structure_flow_model": "ckpts/ss_flow_tiny",
            "slat_decoder_gs": "ckpts/none",
            "slat_flow_model": "ckpts/slat_flow_tiny",
        },
        "sparse_structure_sampler": {**sampler, "params": STRUCTURE["ss_sampler"]},
        "slat_sampler": {"name": "FlowEulerCfgSampler", "args": {"sigma_min": 1e-5}, "params": {"cfg_strength": 3.0}},
        "slat_normalization": {"mean": [0.5] * 48, "std": [2.0] * 48},
        "image_cond_model": "dinov2_vitl14_reg",
    }
    if change:
        change(entries)
    (folder / "pipeline.json").write_text(json.dumps({"name": "TrellisImageTo3DPipeline", "args": entries}))
    return folder


def test_a_whole_folder(tmp_path):
    parts = convert_trellis_folder(released(tmp_path))
    assert_same(to_official_structured_latent_flow(parts.latent_transformer), LATENT_WEIGHTS)
    config = parts.latent_transformer.config
    assert config.latents_mean == [0.5] * 48 and config.latents_std == [2.0] * 48 and config.pool_counts_zero
    assert parts.structure_sampling == {
        "num_inference_steps": 2,
        "guidance_scale": 6.0,
        "guidance_interval": [0.5, 0.9],
        "shift": 3.0,
    }
    assert parts.latent_sampling["guidance_scale"] == 4.0
    assert parts.latent_sampling["guidance_interval"] == [0.0, 1.0]
    assert parts.unused == ["models.slat_decoder_gs"] and parts.image_encoder == "dinov2_vitl14_reg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.update(rembg="u2net"), r"unknown are \['rembg'\], and it lacks none"),
        (lambda e: e.pop("slat_normalization"), r"unknown are none, and it lacks \['slat_normalization'\]"),
        (lambda e: e["models"].pop("slat_flow_model"), "it lacks slat_flow_model"),
        (lambda e: e["slat_sampler"].update(name="Heun"), "slat_sampler must be one of .* got 'Heun'"),
        (lambda e: e["slat_sampler"]["params"].update(eta=1), "slat_sampler must have params among .* got eta"),
        (lambda e: e["slat_sampler"]["args"].update(sigma_min=0.1), "must have the args sigma_min = 1e-05 alone"),
        (lambda e: e["slat_sampler"]["params"].update(steps=0), "num_inference_steps must be at least 1"),
        (lambda e: e["slat_normalization"].update(mean=[0.0]), "latents_mean must have in_channels = 48 values"),
    ],
)
def test_folders_that_say_something_else(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        convert_trellis_folder(released(tmp_path, change))


def test_folders_that_lack_something(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder: there is no file .*pipeline.json"):
        convert_trellis_folder(tmp_path)
    (tmp_path / "pipeline.json").write_text("{")
    with pytest.raises(ValueError, match="folder: .*pipeline.json must be JSON"):
        convert_trellis_folder(tmp_path)
    released(tmp_path)
    (tmp_path / "ckpts/ss_enc_tiny.safetensors").rename(tmp_path / "encoder.safetensors")
    with pytest.raises(FileNotFoundError, match="encoder: there is no file .*ss_enc_tiny.safetensors"):
        convert_trellis_folder(tmp_path)
    assert convert_trellis_folder(tmp_path, structure_encoder=tmp_path / "encoder.safetensors").unused
    (tmp_path / "ckpts/slat_flow_tiny.json").write_text(json.dumps({"name": "any", "args": {"num_heads": 4}}))
    with pytest.raises(ValueError, match="slat_flow_tiny.json must have whole numbers resolution in its args"):
        convert_trellis_folder(tmp_path, structure_encoder=tmp_path / "encoder.safetensors")
