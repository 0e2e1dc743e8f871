"""The Gaussian decoder against the official code's numbers, and its batching and gradients."""

import numpy as np
import pytest
import torch

from atoken import AtokenGaussianConfig, AtokenGaussianDecoder, Gaussians, gaussian_windows_atoken
from atoken.gaussian_conversion_atoken import convert_original_gaussian_decoder, to_original_gaussian_state_dict
from atoken.gaussian_decoder_atoken import hammersley_offsets

from .helpers import assert_close, make_model, pack, randomize, voxel_tokens
from .reference import GaussianReference
from .test_expected_slices import wave, weight

FIELDS = ("means", "quats", "scales", "opacities", "sh0")
SMALL = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def small_decoder():
    return randomize(AtokenGaussianDecoder(AtokenGaussianConfig(**SMALL, num_gaussians=4)))


def voxels(count: int, seed: int = 0):
    features, coords = voxel_tokens(count, seed)
    return features[:, :768], coords[:, 1:]


def cluster(count: int, low: int, high: int, seed: int):
    """Features, and `count` different voxels of the cube [low, high)."""
    generator = torch.Generator().manual_seed(seed)
    side = high - low
    cells = torch.randperm(side**3, generator=generator)[:count]
    coords = torch.stack([cells // side**2, cells // side % side, cells % side], dim=1) + low
    return torch.randn(count, 768, generator=generator), coords


def released_weights(model: AtokenGaussianDecoder) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in to_original_gaussian_state_dict(model).items()}


def test_random_voxels_against_windows_one_by_one():
    """Three blocks, so both shifts; dense and sparse windows, some at the grid's edges."""
    model = randomize(AtokenGaussianDecoder(AtokenGaussianConfig(**{**SMALL, "num_hidden_layers": 3}, num_gaussians=4)))
    samples = [cluster(300, 20, 30, 0), cluster(1, 0, 1, 1), cluster(200, 0, 64, 2), cluster(150, 56, 64, 3)]
    with torch.no_grad():
        decoded = model(*pack(samples))
    reference = GaussianReference(released_weights(model), heads=2)
    for (features, coords), gaussians in zip(samples, decoded, strict=True):
        expected = reference.decode(features.numpy(), coords.numpy())
        for name in FIELDS:
            assert_close(getattr(gaussians, name).double(), torch.from_numpy(expected[name]), 1e-5)


def formula_decoder() -> AtokenGaussianDecoder:
    """Weights by a formula; those of the perturbation stay."""
    model = AtokenGaussianDecoder(AtokenGaussianConfig(**{**SMALL, "num_hidden_layers": 3}, num_gaussians=4))
    parameters = sorted(model.named_parameters())
    with torch.no_grad():
        for key, (name, parameter) in enumerate(parameters):
            parameter.copy_(torch.from_numpy(weight(name, tuple(parameter.shape), key)))
    return model.eval()


def formula_voxels(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every third voxel of a 4 x 5 x 6 box that lies across window borders."""
    cells = np.arange(0, 3 * count, 3)
    coords = np.stack([cells // 30 + 6, cells // 6 % 5 + 2, cells % 6 + 10], axis=1)
    return torch.from_numpy(wave((count, 768), 99)).float(), torch.from_numpy(coords)


# From the reference in float64: the first Gaussian, one in the middle and the last.
EXPECTED = {
    "means": [[-0.403192, -0.472037, -0.328011], [-0.375277, -0.409805, -0.280098], [-0.344648, -0.393139, -0.278169]],
    "quats": [
        [0.990593, 0.028575, 0.11046, 0.075553],
        [0.959026, -0.237278, -0.049886, 0.146557],
        [0.994366, 0.003053, -0.067648, -0.08155],
    ],
    "scales": [[0.0144, 0.003384, 0.005639], [0.003501, 0.001921, 0.002232], [0.002994, 0.00101, 0.000989]],
    "opacities": [0.131054, 0.015532, 0.042457],
    "sh0": [[0.252142, -0.820698, -1.066783], [0.520206, 2.130671, -1.584619], [0.583711, -0.564733, 0.022673]],
}


def test_expected_slices():
    with torch.no_grad():
        (gaussians,) = formula_decoder()(*pack([formula_voxels(40)]))
    for name, rows in EXPECTED.items():
        assert_close(getattr(gaussians, name)[[0, 77, 159]], torch.tensor(rows), 1e-5)


# Outputs for one Gaussian of a voxel before their activations, in float64, and what the official code makes of them.
ACTIVATED = [
    (
        [26, 30, 28],
        5,
        {
            "offset": [0.5033402, -0.9385497, -0.0166467],
            "color": [1.4434419, -1.214268, 0.4006873],
            "scale": [-0.4440196, -0.8131697, -0.4923393],
            "rotation": [0.7923747, -0.2342515, 0.8198173, -0.7877914],
            "opacity": [-0.9420695],
        },
        {
            "means": [-0.0858421, -0.0310208, -0.0505166],
            "quats": [0.9942648, -0.0215808, 0.075527, -0.0725766],
            "scales": [0.0027208, 0.0019908, 0.002607],
            "opacities": 0.0415152,
            "sh0": [1.4434421, -1.2142684, 0.4006872],
        },
    ),
    (
        [35, 27, 31],
        31,
        {
            "offset": [1.3944606, 0.3998808, 1.1422949],
            "color": [-0.1899304, 0.807076, -0.1770247],
            "scale": [-0.8946582, 0.1958965, 0.0616974],
            "rotation": [0.5717245, -0.865834, 0.8791332, 0.5591227],
            "opacity": [-1.4619733],
        },
        {
            "means": [0.0660784, -0.0607962, 0.0015028],
            "quats": [0.9918896, -0.0812367, 0.0824845, 0.0524595],
            "scales": [0.001868, 0.0049461, 0.0043482],
            "opacities": 0.0251066,
            "sh0": [-0.18993, 0.8070761, -0.1770245],
        },
    ),
]


@pytest.mark.parametrize(("voxel", "index", "outputs", "expected"), ACTIVATED)
def test_golden_activations(voxel, index, outputs, expected):
    model = AtokenGaussianDecoder(AtokenGaussianConfig(**SMALL))
    with torch.no_grad():
        model.out_layer.weight.zero_()
        start = 0
        for values in outputs.values():
            model.out_layer.bias[start : start + 32 * len(values)].view(32, -1)[index] = torch.tensor(values)
            start += 32 * len(values)
        (gaussians,) = model(torch.zeros(1, 768), torch.tensor([voxel]), torch.tensor([0, 1]))
    for name, value in expected.items():
        assert_close(getattr(gaussians, name)[index], torch.tensor(value), 2e-6)


def test_the_released_perturbation():
    expected = [[-0.8047, -0.8047, -0.8047], [-0.7332, 0.0, -0.2260], [-0.4952, 0.1682, 0.3889]]
    assert_close(hammersley_offsets(32)[[0, 1, 5]], torch.tensor(expected), 6e-5)


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


def test_the_order_of_voxels_has_no_effect():
    model = small_decoder()
    features, coords = cluster(200, 10, 40, 0)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        (straight,) = model(*pack([(features, coords)]))
        (shuffled,) = model(*pack([(features[order], coords[order])]))
    for name in FIELDS:
        moved = getattr(straight, name).unflatten(0, (200, 4))[order].flatten(0, 1)
        assert_close(getattr(shuffled, name), moved, 2e-6)


def test_few_logits_at_a_time_give_the_same(monkeypatch):
    model, inputs = small_decoder(), pack([cluster(1500, 0, 12, 0), cluster(300, 0, 64, 1)])
    with torch.no_grad():
        at_once = model(*inputs)
        monkeypatch.setattr(gaussian_windows_atoken, "_MAX_LOGITS", 1)  # every window by itself
        one_by_one = model(*inputs)
    for some, others in zip(at_once, one_by_one, strict=True):
        for name in FIELDS:
            assert_close(getattr(some, name), getattr(others, name), 2e-6)


def test_forty_thousand_voxels():
    """Full windows, 512 voxels each, and 160,000 Gaussians."""
    model = small_decoder()
    with torch.no_grad():
        (gaussians,) = model(*pack([cluster(40_000, 10, 46, 0)]))
    assert len(gaussians) == 160_000
    assert gaussians.means.abs().max() <= 0.5 + 0.75 / 64


def test_gradients_are_the_same_under_checkpointing():
    model = small_decoder().train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        model.zero_grad()
        (gaussians,) = model(*pack([voxels(60)]))
        sum(getattr(gaussians, name).square().sum() for name in FIELDS).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_gradients_reach_the_features():
    features, coords, cu_seqlens = pack([voxels(30)])
    (gaussians,) = small_decoder()(features.requires_grad_(), coords, cu_seqlens)
    gaussians.sh0.square().sum().backward()
    assert features.grad.isfinite().all() and (features.grad.abs().amax(-1) > 0).all()


def test_bf16_weights_give_fp32_gaussians():
    model = small_decoder()
    with torch.no_grad():
        (wide,) = model(*pack([voxels(60)]))
        (gaussians,) = model.to(torch.bfloat16)(*pack([voxels(60)]))
    assert isinstance(gaussians, Gaussians) and len(gaussians) == 240
    assert all(getattr(gaussians, name).dtype == torch.float32 for name in FIELDS)
    # bf16 keeps 8 bits; the offset of a center is at most 0.75 voxels.
    assert_close(gaussians.means, wide.means, 0.1 * 0.75 / 64)
    assert_close(gaussians.quats, wide.quats, 0.02)


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
    with pytest.raises(ValueError, match="no Gaussian decoder: .*attach_gaussian_decoder"):
        make_model().decode_gaussians(encoded.latents, coords, cu_seqlens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, c, s: (f[:, :5], c, s), "features"),
        (lambda f, c, s: (f.int(), c, s), "features"),
        (lambda f, c, s: (f[:0], c, s), "features"),
        (lambda f, c, s: (f.where(f < 0.9, float("nan")), c, s), "features must be finite"),
        (lambda f, c, s: (f.where(f < 0.9, float("inf")), c, s), "features must be finite"),
        (lambda f, c, s: ([[0.0] * 768] * len(f), c, s), "features"),
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
