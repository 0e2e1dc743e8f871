"""ST-LPIPS against its definition in float64 numpy, and against check values where its weights are installed."""

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from atoken.evaluation.metrics.st_lpips import FILES, REQUIREMENT, StLpips, StLpipsNetwork, load_st_lpips
from atoken.evaluation.metrics.weight_files import packaged_file

# The layers as the package numbers them: ("conv", slice.layer, channels in and out, kernel, padding), and so on.
VGG = [
    [("conv", "1.0", 3, 64, 3, 1), "relu", ("conv", "1.2", 64, 64, 3, 1), "relu"],
    [("max", 2), "blur", ("conv", "2.6", 64, 128, 3, 1), "relu", ("conv", "2.8", 128, 128, 3, 1), "relu"],
    [("max", 2), "blur"]
    + [one for n, c in ((12, 128), (14, 256), (16, 256)) for one in (("conv", f"3.{n}", c, 256, 3, 1), "relu")],
    [("max", 2), "blur"]
    + [one for n, c in ((20, 256), (22, 512), (24, 512)) for one in (("conv", f"4.{n}", c, 512, 3, 1), "relu")],
    [("max", 2), "blur"]
    + [one for n, c in ((28, 512), (30, 512), (32, 512)) for one in (("conv", f"5.{n}", c, 512, 3, 1), "relu")],
]
ALEX = [
    [("conv", "1.0", 3, 64, 11, 2), "blur", "relu"],
    [("max", 3), "blur", ("conv", "2.5", 64, 192, 5, 2), "relu"],
    [("max", 3), "blur", ("conv", "3.9", 192, 384, 3, 1), "relu"],
    [("conv", "4.11", 384, 256, 3, 1), "relu"],
    [("conv", "5.13", 256, 256, 3, 1), "relu"],
]
TRUNKS = {"vgg": VGG, "alex": ALEX}


def _convolve(x, weight, bias, padding):
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, weight.shape[2:], (1, 2))
    return np.einsum("chwij,ocij->ohw", windows, weight, optimize=True) + bias[:, None, None]


def _taps(x, trunk, state):
    """Runs a trunk by its definition on (3, H, W) in [-1, 1]."""
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x = (x - shift[:, None, None]) / scale[:, None, None]
    row = np.array([1, 2, 1]) / 4
    taps = []
    for block in TRUNKS[trunk]:
        for layer in block:
            if layer == "relu":
                x = np.maximum(x, 0)
            elif layer == "blur":
                windows = sliding_window_view(np.pad(x, ((0, 0), (2, 2), (2, 2)), mode="reflect"), (3, 3), (1, 2))
                x = (windows * np.outer(row, row)).sum((-1, -2))[:, ::2, ::2]
            elif layer[0] == "max":
                x = sliding_window_view(x, (layer[1], layer[1]), (1, 2)).max((-1, -2))
            else:
                weight, bias = (state[f"net.slice{layer[1]}.{part}"].double().numpy() for part in ("weight", "bias"))
                x = _convolve(x, weight, bias, layer[5])
        taps.append(x)
    return taps


def _package_state(trunk):
    """Draws weights under the package's names."""
    generator, state = torch.Generator().manual_seed(0), {}
    state["scaling_layer.shift"] = state["scaling_layer.scale"] = torch.ones(1, 3, 1, 1)
    state["net.slice2.4.filt"] = torch.ones(64, 1, 3, 3)
    for index, block in enumerate(TRUNKS[trunk]):
        for layer in block:
            if layer[0] == "conv":
                _, name, channels, out, kernel, _ = layer
                deviation = (2 / channels / kernel**2) ** 0.5
                state[f"net.slice{name}.weight"] = deviation * torch.randn(
                    out, channels, kernel, kernel, generator=generator
                )
                state[f"net.slice{name}.bias"] = torch.randn(out, generator=generator) / 10
                width = out
        state[f"lin{index}.model.1.weight"] = torch.rand(1, width, 1, 1, generator=generator)
    return state


@pytest.mark.parametrize("trunk", ["vgg", "alex"])
def test_trunks_and_distance_are_the_definition(trunk, tmp_path):
    state = _package_state(trunk)
    torch.save(state, tmp_path / "weights.pth")
    metric = StLpips(trunk, tmp_path / "weights.pth")
    pictures = torch.randint(0, 256, (2, 3, 29, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    sides = [_taps(picture.double().numpy() / 127.5 - 1, trunk, state) for picture in pictures]
    with torch.no_grad():
        taps = metric.network.taps(pictures / 127.5 - 1)
        found = metric(pictures[:1], pictures[1:])
    expected = 0.0
    for index, (first, second) in enumerate(zip(*sides, strict=True)):
        np.testing.assert_allclose(taps[index][0].numpy(), first, atol=1e-4 * np.abs(first).max())
        units = [one / (np.sqrt((one**2).sum(0)) + 1e-10) for one in (first, second)]
        head = state[f"lin{index}.model.1.weight"].double().numpy()[0]
        expected += (head * (units[0] - units[1]) ** 2).sum(0).mean()
    assert found.shape == (1,) and float(found) == pytest.approx(expected, rel=1e-4) and expected > 0


@pytest.mark.parametrize("trunk", ["vgg", "alex"])
def test_pictures_must_be_large_enough_for_the_pools(trunk):
    network = StLpipsNetwork(trunk)
    side = network.SMALLEST[trunk]
    assert len(network.taps(torch.zeros(1, 3, side, side + 5))) == 5
    with pytest.raises(ValueError, match=f"at least {side} x {side} pixels"):
        network.taps(torch.zeros(1, 3, side + 5, side - 1))
    with pytest.raises(ValueError, match="trunk must be one of vgg, alex, got 'squeeze'"):
        StLpipsNetwork("squeeze")


def test_the_network_is_frozen_and_gradients_are_finite():
    network = StLpipsNetwork("alex").train()
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    images = torch.zeros(2, 3, 32, 32, requires_grad=True)
    with torch.no_grad():
        target = network.taps(torch.rand(2, 3, 32, 32))
    network.distance(network.taps(images), target).sum().backward()
    assert images.grad.isfinite().all() and images.grad.abs().sum() > 0


def _installed(trunk):
    try:
        packaged_file(None, REQUIREMENT, FILES[trunk], trunk)
    except FileNotFoundError:
        return False
    return True


@pytest.mark.parametrize(("trunk", "expected"), [("vgg", 0.685777), ("alex", 0.363843)])
def test_check_values_of_the_trained_networks(trunk, expected):
    if not _installed(trunk):
        pytest.skip(f"needs the weights in {REQUIREMENT}")
    row, column, channel = torch.arange(64.0)[:, None], torch.arange(64.0), torch.arange(3.0)[:, None, None]
    x = torch.sin(0.1 * (row + 2 * column) + channel)[None]
    y = torch.cos(0.07 * (2 * row - column) + channel)[None]
    network = load_st_lpips(trunk)
    with torch.no_grad():
        taps = network.taps(x)
        assert float(network.distance(taps, network.taps(y))) == pytest.approx(expected, abs=1e-6)
    if trunk == "vgg":
        means = [float(tap.mean()) for tap in taps]
        assert means == pytest.approx([0.060844, 0.014851, 0.012206, 0.071353, 1.110427], abs=2e-6)
