"""What hooks, wrappers and other activations see is what the layers give, with and without gradients."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, linear

from atoken.layers_atoken import AtokenMLP

from .helpers import assert_close, make_model, media, tiny_config

GAUSSIANS = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def make_mlp() -> AtokenMLP:
    torch.manual_seed(0)
    return AtokenMLP(tiny_config().vision_config, bias=True).eval()


def right(mlp: AtokenMLP, x: torch.Tensor) -> torch.Tensor:
    return linear(x, mlp.fc1.weight, mlp.fc1.bias)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("at", ["fc1", "activation before", "activation", "fc2 before", "everywhere"])
def test_what_a_hook_keeps_stays_as_it_was(mode, at):
    mlp, kept = make_mlp(), []
    if at == "fc1":
        handle = mlp.fc1.register_forward_hook(lambda module, inputs, output: kept.append(output))
    elif at == "everywhere":
        handle = nn.modules.module.register_module_forward_hook(
            lambda module, inputs, output: kept.append(output) if module is mlp.fc1 else None
        )
    elif at == "activation":
        handle = mlp.activation_fn.register_forward_hook(lambda module, inputs, output: kept.append(output))
    else:
        module = mlp.activation_fn if at == "activation before" else mlp.fc2
        handle = module.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    x = media(5, 48)
    with mode():
        output = mlp(x)
        expected = right(mlp, x)
    handle.remove()
    activated = gelu(expected, approximate="tanh")
    assert len(kept) == 1
    assert_close(kept[0], activated if at in ("activation", "fc2 before") else expected, 1e-6)
    assert_close(output, linear(activated, mlp.fc2.weight, mlp.fc2.bias), 1e-6)


class Wrapper(nn.Module):
    """Keeps what the layer inside gives, as adapters may."""

    def __init__(self, inside: nn.Module):
        super().__init__()
        self.inside, self.kept = inside, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = self.inside(x)
        return self.kept


@torch.no_grad()
@pytest.mark.parametrize("how", ["wrapper", "forward"])
def test_what_a_wrapper_keeps_stays_as_it_was(how):
    mlp, x, kept = make_mlp(), media(5, 48), {}
    expected = right(mlp, x)
    if how == "wrapper":
        mlp.fc1 = Wrapper(mlp.fc1)
    else:
        before = mlp.fc1.forward
        mlp.fc1.forward = lambda x: kept.setdefault("fc1", before(x))
    mlp(x)
    assert_close(mlp.fc1.kept if how == "wrapper" else kept["fc1"], expected, 1e-6)


@torch.no_grad()
def test_another_activation_is_used():
    mlp, x = make_mlp(), media(5, 48)
    hidden = right(mlp, x)
    mlp.activation_fn = nn.ReLU()
    assert_close(mlp(x), linear(hidden.relu(), mlp.fc2.weight, mlp.fc2.bias), 1e-6)


@torch.no_grad()
def test_every_layer_of_the_model():
    """Outputs that forward hooks keep do not change until the end, and are those of a model with gradients."""
    model = make_model(text=True, gaussian_config={**GAUSSIANS, "num_gaussians": 2, "resolution": 16})
    kept, copies = {}, {}

    def keep(name):
        def hook(module, inputs, output):
            if isinstance(output, torch.Tensor):
                kept[name], copies[name] = output, output.clone()

        return hook

    for name, module in model.named_modules():
        module.register_forward_hook(keep(name))
    coords = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3]])
    model(media(2, 3, 32, 48), input_ids=torch.tensor([[2, 5, 7, 1]]))
    model.decode_gaussians(media(2, 12), coords, torch.tensor([0, 2]))
    assert sum(".mlp.fc1" in name for name in kept) == 8
    for name, tensor in kept.items():
        assert torch.equal(tensor, copies[name]), name


@torch.no_grad()
def test_without_a_hook_the_result_is_the_same():
    mlp, x = make_mlp(), media(5, 48)
    watched = copy.deepcopy(mlp)
    watched.fc1.register_forward_hook(lambda module, inputs, output: None)
    assert mlp._may_overwrite() and not watched._may_overwrite()
    assert_close(mlp(x), watched(x), 1e-6)
