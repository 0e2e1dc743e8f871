"""The Gaussian decoder against the official code's numbers, and its batching and gradients."""

import pytest
import torch

from atoken import AtokenGaussianConfig, AtokenGaussianDecoder
from atoken.gaussian_conversion_atoken import convert_original_gaussian_decoder, to_original_gaussian_state_dict

from .helpers import assert_close, make_model, pack, randomise, voxel_tokens

SMALL = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def small_decoder():
    return randomise(AtokenGaussianDecoder(AtokenGaussianConfig(**SMALL, num_gaussians=4)))


def voxels(count: int, seed: int = 0):
    features, coords = voxel_tokens(count, seed)
    return features[:, :768], coords[:, 1:]


def test_golden_numbers(golden, golden_folder):
    tensors = golden("gaussian")
    model = convert_original_gaussian_decoder(golden_folder / "gaussian.weights.safetensors", num_heads=2)
    coords = tensors["coords"]
    lengths = torch.bincount(coords[:, 0].long())
    cu_seqlens = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    with torch.no_grad():
        decoded = model(tensors["features"], coords[:, 1:], cu_seqlens)
    assert len(decoded) == 2
    for i, gaussians in enumerate(decoded):
        assert_close(gaussians.means, tensors[f"sample{i}.xyz"], 2e-5)
        assert_close(gaussians.quats, tensors[f"sample{i}.rotation"], 2e-5)
        assert_close(gaussians.scales, tensors[f"sample{i}.scaling"], 2e-5)
        assert_close(gaussians.opacities, tensors[f"sample{i}.opacity"][:, 0], 2e-5)
        assert_close(gaussians.sh0, tensors[f"sample{i}.features_dc"][:, 0], 2e-5)


def test_the_perturbation_is_the_stored_one(golden_folder):
    model = convert_original_gaussian_decoder(golden_folder / "gaussian.weights.safetensors", num_heads=2)
    fresh = AtokenGaussianDecoder(model.config)
    assert_close(fresh.offset_perturbation, model.offset_perturbation, 2e-6)


def test_conversion_names_keys_and_drops_lpips(tmp_path):
    state = to_original_gaussian_state_dict(small_decoder())
    torch.save({**state, "lpips_loss.lin": torch.zeros(1)}, tmp_path / "gs.pt")
    again = to_original_gaussian_state_dict(convert_original_gaussian_decoder(tmp_path / "gs.pt", num_heads=2))
    assert all(torch.equal(again[name], state[name]) for name in state) and len(again) == len(state)
    torch.save({**state, "extra": torch.zeros(1)}, tmp_path / "gs.pt")
    with pytest.raises(ValueError, match="extra"):
        convert_original_gaussian_decoder(tmp_path / "gs.pt", num_heads=2)


def test_batch_is_alone():
    model = small_decoder()
    samples = [voxels(150), voxels(40, seed=1)]
    with torch.no_grad():
        together = model(*pack(samples))
        for sample, gaussians in zip(samples, together, strict=True):
            (alone,) = model(*pack([sample]))
            assert_close(gaussians.means, alone.means, 2e-6)
            assert_close(gaussians.sh0, alone.sh0, 2e-5)


def test_gradients_are_the_same_under_checkpointing():
    model = small_decoder().train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        (gaussians,) = model(*pack([voxels(60)]))
        fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh0)
        sum(field.square().sum() for field in fields).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_bf16_weights_give_fp32_gaussians():
    model = small_decoder().to(torch.bfloat16)
    with torch.no_grad():
        (gaussians,) = model(*pack([voxels(60)]))
    assert gaussians.dtype == torch.float32 and len(gaussians) == 240


def test_the_model_decodes_gaussians_and_saves_them(tmp_path):
    model = make_model(gaussian_config={**SMALL, "num_gaussians": 4})
    features, coords, cu_seqlens = pack([voxel_tokens(50)])
    with torch.no_grad():
        encoded = model.encode(features, coords, cu_seqlens)
        (gaussians,) = model.decode_gaussians(encoded.latents, coords, cu_seqlens)
        model.save_pretrained(tmp_path)
        (again,) = type(model).from_pretrained(tmp_path).decode_gaussians(encoded.latents, coords, cu_seqlens)
    assert len(gaussians) == 200
    assert_close(again.means, gaussians.means, 1e-6)
    with pytest.raises(ValueError, match="--gaussian-decoder"):
        make_model().decode_gaussians(encoded.latents, coords, cu_seqlens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, c, s: (f[:, :5], c, s), "features"),
        (lambda f, c, s: (f.int(), c, s), "features"),
        (lambda f, c, s: (f[:0], c, s), "features"),
        (lambda f, c, s: (f, c.float(), s), "coords"),
        (lambda f, c, s: (f, c[:, :2], s), "coords"),
        (lambda f, c, s: (f, c + 60, s), "coords"),
        (lambda f, c, s: (f, c - 60, s), "coords"),
        (lambda f, c, s: (f, c[:1].expand_as(c), s), "duplicates"),
        (lambda f, c, s: (f, c, s + 1), "cu_seqlens"),
        (lambda f, c, s: (f, c, s[:1]), "cu_seqlens"),
        (lambda f, c, s: (f, c, s.float()), "cu_seqlens"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        small_decoder()(*change(*pack([voxels(20)])))
