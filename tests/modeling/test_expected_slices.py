"""
The numbers of a model whose weights follow a formula, against an independent float64 computation and
against slices of it typed in below.
"""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from atoken import AtokenModel
from atoken.conversion_atoken import to_original_state_dict

from .helpers import as_tokens, assert_close, tiny_config
from .reference import Reference, fsq, kl

TOLERANCE = 1e-5
WINDOWS = {"tiles": (4, 0), "stride 3, cache 1": (3, 1), "stride 2, cache 2": (2, 2), "stride 1, cache 3": (1, 3)}


def wave(shape, key: int) -> np.ndarray:
    """Values in [-1, 1]: the sine of the squared flat index modulo a prime, which has no low-rank structure."""
    index = np.arange(int(np.prod(shape)), dtype=np.int64)
    return np.sin((index * index + 31 * index + 977 * key) % 10007).reshape(shape)


def weight(name: str, shape, key: int) -> np.ndarray:
    values = wave(shape, key)
    if "norm" in name and not name.endswith("bias"):
        return 1 + 0.3 * values
    if len(shape) == 1 or "position" in name:
        return 0.5 * values
    return 2 * values / shape[1] ** 0.5


def set_weights(model: AtokenModel) -> dict[str, np.ndarray]:
    """Sets the model's weights by the formula and returns them under the released names."""
    state = to_original_state_dict(model)  # shares the parameters' memory
    weights = {name: weight(name, tuple(state[name].shape), key) for key, name in enumerate(sorted(state))}
    for name, values in weights.items():
        state[name].copy_(torch.from_numpy(values))
    # In fp32, as the model has them, so that the comparison shows the computation only.
    return {name: state[name].numpy() for name in weights}


# From the reference in float64; the window is stride 3, cache 1, and rows are the last tokens'.
EXPECTED = {
    "image": {
        "dense": [-1.463012, 0.314261, -2.533661, -0.004442, 0.319052, 2.193944],
        "pooled": [-0.714242, -1.993278, 0.360592, 0.564266, -2.795115, -0.363457],
        "mean": [2.861617, -1.615746, -2.512078, -0.129722, 1.770327, 2.007315],
        "logvar": [-0.288786, -1.700329, 0.741588, -0.365453, 1.185017, -1.521337],
        "codes": [[1539, 887], [3906, 821], [3971, 1969]],
        "decoded, continuous": [
            0.856594,
            0.570088,
            -1.382294,
            -0.057649,
            1.332639,
            -0.040422,
            -0.309779,
            1.010376,
            -2.370936,
            1.887285,
            0.205240,
            0.877386,
        ],
        "decoded, discrete": [
            -0.831341,
            0.449696,
            -1.094637,
            0.833579,
            -0.056017,
            0.033838,
            -0.038432,
            0.797480,
            0.021171,
            1.947966,
            -1.532003,
            0.515040,
        ],
    },
    "video": {
        "dense": [-0.724052, -0.040153, -3.201123, 0.096293, -1.329109, -0.177260],
        "pooled": [-0.027383, -0.928323, 0.785107, 0.878507, -0.010692, -0.250986],
        "mean": [0.988549, 0.333612, -0.931029, -2.227104, -0.166349, 3.187663],
        "logvar": [0.178295, -0.499947, -0.126409, -0.324517, 0.105081, 0.641659],
        "codes": [[2694, 3878], [3855, 3356], [3611, 978]],
        "decoded, continuous": [
            -1.757926,
            -1.182530,
            -1.333655,
            -1.556244,
            0.830619,
            -0.317111,
            -1.493256,
            2.259790,
            -0.931378,
            -1.010467,
            -1.460467,
            2.328333,
        ],
        "decoded, discrete": [
            -2.801468,
            -2.216300,
            -0.855756,
            -0.657229,
            0.142700,
            -0.837255,
            -0.504761,
            1.269209,
            0.043942,
            0.105618,
            -2.342120,
            1.845019,
        ],
    },
    "voxels": {
        "dense": [-1.186960, 0.553070, -3.791509, 0.330412, -0.298120, -0.177569],
        "pooled": [-0.722403, -0.765703, 1.323470, 2.146715, -0.334086, -0.043061],
        "mean": [3.191507, -1.136631, -0.814589, -2.305484, 0.894085, 2.330833],
        "logvar": [-1.212554, -1.314786, -0.616412, -0.413950, 0.698992, -2.017616],
        "codes": [[3847, 2934], [3859, 3643], [3863, 1594]],
        "decoded, continuous": [
            -0.173797,
            -1.201099,
            -0.933401,
            -0.625856,
            0.289310,
            -0.205221,
            -0.150032,
            0.872186,
            -3.100559,
            -0.883939,
            0.698264,
            1.710103,
        ],
        "decoded, discrete": [
            -0.944731,
            -1.680944,
            -0.482334,
            1.072722,
            -0.494959,
            -1.413095,
            0.708224,
            1.167332,
            -1.611838,
            0.405749,
            -0.838085,
            1.141551,
        ],
    },
}


@pytest.fixture(scope="module", params=["continuous", "discrete"])
def pair(request):
    """The kind, the model and the reference with the same weights."""
    model = AtokenModel(tiny_config(discrete=request.param == "discrete")).eval()
    return request.param, model, Reference(set_weights(model), heads=2)


def grid(frames, rows, columns):
    axes = np.meshgrid(np.arange(frames), np.arange(rows), np.arange(columns), [0], indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, 4)


def samples():
    """An image, a video of 7 latent frames and 20 voxels: features and coordinates of each."""
    voxels = np.array([[1, 3 * i % 11, 5 * i % 13, 7 * i % 17] for i in range(20)])
    coords = {"image": grid(1, 3, 2), "video": grid(7, 2, 3), "voxels": voxels}
    features = {name: wave((len(c), 3072), 100 + key) for key, (name, c) in enumerate(coords.items())}
    features["image"].reshape(-1, 4, 768)[:, 1:] = 0  # an image is one frame and three gray ones
    features["voxels"][:, 768:] = 0
    return {name: (features[name].astype(np.float32), coords[name]) for name in coords}


def run_model(model, features, coords, stride=4, cache=0):
    features, coords = torch.from_numpy(features), torch.from_numpy(coords)
    window = {"tile_frames": 4 * stride, "cache_frames": 4 * cache}
    cu_seqlens = torch.tensor([0, len(coords)])
    with torch.no_grad():
        encoded = model.encode(features, coords, cu_seqlens, **window)
        decoded = model.decode(encoded.latents, coords, cu_seqlens, **window)
    return encoded, decoded.pixel_values


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", ["image", "video", "voxels"])
def test_against_the_reference(pair, name, window):
    kind, model, reference = pair
    stride, cache = WINDOWS[window]
    features, coords = samples()[name]
    encoded, decoded = run_model(model, features, coords, stride, cache)
    dense, pooled, moments = reference.encode(features, coords, stride, cache)
    latents = np.split(moments, 2, axis=-1)[0]
    if kind == "discrete":
        latents, codes = fsq(latents)
        assert np.array_equal(encoded.codes.numpy(), codes)
    distribution = encoded.latent_dist
    expected = {
        "dense": (encoded.last_hidden_state, dense),
        "pooled": (encoded.pooler_output[0], pooled),
        "moments": (torch.cat([distribution.mean, distribution.logvar], -1), moments),
        "latents": (encoded.latents, latents),
        "kl": (distribution.kl(), kl(moments)),
        "decoded": (decoded, reference.decode(latents, coords, stride, cache)),
    }
    for what, (ours, theirs) in expected.items():
        difference = (ours - torch.from_numpy(theirs)).abs().max().item()
        assert difference < TOLERANCE * max(1, np.abs(theirs).max()), (what, difference)


def test_the_settings_tell_the_computations_apart(pair):
    """The comparison above could not see a window that is ignored if all windows gave the same."""
    _, model, _ = pair
    outputs = [run_model(model, *samples()["video"], *window) for window in WINDOWS.values()]
    for index, (encoded, decoded) in enumerate(outputs):
        for other, other_decoded in outputs[:index]:
            assert (encoded.last_hidden_state - other.last_hidden_state).abs().max() > 1e-2
            assert (decoded - other_decoded).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["image", "video", "voxels"])
def test_typed_slices(pair, name):
    kind, model, _ = pair
    encoded, decoded = run_model(model, *samples()[name], *WINDOWS["stride 3, cache 1"])
    expected = EXPECTED[name]
    assert_close(encoded.last_hidden_state[-1, :6], torch.tensor(expected["dense"]), TOLERANCE)
    assert_close(encoded.pooler_output[0, :6], torch.tensor(expected["pooled"]), TOLERANCE)
    assert_close(encoded.latent_dist.mean[-1, :6], torch.tensor(expected["mean"]), TOLERANCE)
    assert_close(encoded.latent_dist.logvar[-1, :6], torch.tensor(expected["logvar"]), TOLERANCE)
    assert_close(decoded[-1, 762:774], torch.tensor(expected[f"decoded, {kind}"]), TOLERANCE)
    if kind == "discrete":
        assert encoded.codes[-3:].tolist() == expected["codes"]


@pytest.mark.parametrize("kind,name", [("continuous", "video"), ("continuous", "voxels"), ("discrete", "image")])
def test_the_reference_agrees_with_the_golden_numbers(golden, golden_folder, kind, name):
    """Ties the independent computation, and with it the slices, to the official code."""
    tensors = {key: value.numpy() for key, value in golden(kind).items()}
    weights = load_file(golden_folder / f"{kind}.weights.safetensors")
    reference = Reference({key: value.numpy() for key, value in weights.items()}, heads=2)
    coords = tensors[f"{name}.coords"][:, 1:].astype(int)
    if name == "voxels":
        features = np.pad(tensors["voxels.rgb"] * 2 - 1, ((0, 0), (0, 3072 - 768)))
    else:
        value = golden(kind)[f"{name}.input"]
        features = as_tokens((value[None] if value.ndim == 3 else value).permute(0, 3, 1, 2))[0].numpy()
    dense, pooled, moments = reference.encode(features, coords)
    latents = np.split(moments, 2, axis=-1)[0]
    if kind == "discrete":
        latents, indices = fsq(latents)
        assert np.array_equal(indices, tensors["image.indices"])
    expected = {"dense": dense, "pooled": pooled[None] / np.linalg.norm(pooled), "moments": moments}
    expected |= {"kl": kl(moments), "decoded": reference.decode(latents, coords)}
    if name == "video":
        expected["decoded_stride12_cache4"] = reference.decode(latents, coords, stride=3, cache=1)
        expected["decoded_stride8_cache8"] = reference.decode(latents, coords, stride=2, cache=2)
    for what, value in expected.items():
        assert np.abs(value - tensors[f"{name}.{what}"]).max() < 2e-5, what
