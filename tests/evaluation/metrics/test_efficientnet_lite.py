"""EfficientNet-lite0 against its definition in float64 numpy, and against check values if its weights are installed."""

import re

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from atoken.evaluation.metrics.efficientnet_lite import FILE, REQUIREMENT, EfficientNetLite0, load_efficientnet_lite0
from atoken.evaluation.metrics.weight_files import packaged_file

# Of every block: kernel, stride, whether it adds its input.
BLOCKS = [(3, 1, False), (3, 2, False), (3, 1, True), (5, 2, False), (5, 1, True), (3, 2, False), (3, 1, True)]
BLOCKS += [(3, 1, True), (5, 1, False), (5, 1, True), (5, 1, True), (5, 2, False)] + 3 * [(5, 1, True)]
BLOCKS += [(3, 1, False)]


def _relu6(x):
    return np.clip(x, 0, 6)


def _normalize(x, name, state):
    weight, bias, mean, variance = (
        state[f"{name}.{part}"].double().numpy()[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-3) * weight + bias


def _windows(x, kernel, stride):
    """Cuts what TensorFlow's SAME padding lets a filter see: the odd pixel of padding is at the bottom and right."""
    pads = []
    for side in x.shape[1:]:
        both = max((int(np.ceil(side / stride)) - 1) * stride + kernel - side, 0)
        pads.append((both // 2, both - both // 2))
    return sliding_window_view(np.pad(x, ((0, 0), *pads)), (kernel, kernel), (1, 2))[:, ::stride, ::stride]


def _pointwise(x, weight):
    return np.tensordot(weight.double().numpy()[:, :, 0, 0], x, 1)


def _features(pixels, state):
    x = (pixels - 127) / 128
    stem = state["_conv_stem.weight"].double().numpy()
    x = _relu6(_normalize(np.einsum("chwij,ocij->ohw", _windows(x, 3, 2), stem, optimize=True), "_bn0", state))
    for index, (kernel, stride, adds) in enumerate(BLOCKS):
        name, before = f"_blocks.{index}", x
        if index:
            x = _relu6(_normalize(_pointwise(x, state[f"{name}._expand_conv.weight"]), f"{name}._bn0", state))
        depthwise = state[f"{name}._depthwise_conv.weight"].double().numpy()[:, 0]
        windows = _windows(x, kernel, stride)
        x = sum(windows[..., i, j] * depthwise[:, i, j, None, None] for i in range(kernel) for j in range(kernel))
        x = _relu6(_normalize(x, f"{name}._bn1", state))
        x = _normalize(_pointwise(x, state[f"{name}._project_conv.weight"]), f"{name}._bn2", state)
        x = x + before if adds else x
    return _relu6(_normalize(_pointwise(x, state["_conv_head.weight"]), "_bn1", state))


def _package_state():
    """Draws weights under the package's names."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, value in EfficientNetLite0().state_dict().items():
        name = "_" + re.sub(r"\.(?=[a-z]+\d?[._]\w)", "._", name).replace("._weight", ".weight")
        name = re.sub(r"\._(running|num)", r".\1", name)
        if name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(value.shape, generator=generator)
        elif value.ndim > 1:
            deviation = (2 / value[0].numel()) ** 0.5
            state[name] = deviation * torch.randn(value.shape, generator=generator)
        elif value.ndim:
            # Not all units below 0 and not all above 6.
            state[name] = (1 if name.endswith("weight") else 0) + torch.randn(value.shape, generator=generator) / 4
        else:
            state[name] = value
    return state


def test_features_are_the_definition(tmp_path):
    state = _package_state()
    assert {"_conv_stem.weight", "_bn0.running_mean", "_blocks.15._project_conv.weight", "_fc.bias"} <= set(state)
    torch.save(state, tmp_path / "weights.pth")
    network = load_efficientnet_lite0(tmp_path / "weights.pth")
    images = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        found = network(images)
    expected = _features(images[0].double().numpy(), state)
    assert found.map.shape == (2, 1280, 7, 7) and expected.std() > 0.05
    np.testing.assert_allclose(found.map[0].numpy(), expected, atol=2e-3)
    np.testing.assert_allclose(found.pooled[0].numpy(), expected.mean((1, 2)), atol=2e-3)
    logits = state["_fc.weight"].double().numpy() @ expected.mean((1, 2)) + state["_fc.bias"].double().numpy()
    np.testing.assert_allclose(found.logits[0].numpy(), logits, atol=5e-3)
    for name in ("pooled", "logits"):
        assert torch.equal(getattr(network, name)(images), getattr(found, name))


def test_any_size_is_resized_and_gradients_reach_the_pictures():
    torch.manual_seed(0)
    network = EfficientNetLite0().train()
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    images = (255 * torch.rand(1, 3, 40, 56)).requires_grad_()
    found = network.features(images)
    resized = torch.nn.functional.interpolate(images, (224, 224), mode="bilinear", antialias=True)
    assert torch.equal(found, network.features(resized))
    found.square().mean().backward()
    assert images.grad.isfinite().all() and images.grad.abs().sum() > 0


def test_check_values_of_the_trained_network():
    try:
        packaged_file(None, REQUIREMENT, FILE, "fd-lite0")
    except FileNotFoundError:
        pytest.skip(f"needs the weights in {REQUIREMENT}")
    row, column, channel = torch.arange(224.0)[:, None], torch.arange(224.0), torch.arange(3.0)[:, None, None]
    picture = 127 + 128 * torch.sin(0.1 * (row + 2 * column) + channel)[None]
    with torch.no_grad():
        found = load_efficientnet_lite0()(picture)
    assert float(found.map.mean()) == pytest.approx(0.145466, abs=1e-6)
    assert int(found.logits.argmax()) == 807 and float(found.logits.max()) == pytest.approx(10.41005, abs=1e-5)
