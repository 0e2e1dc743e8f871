"""`torch.compile` of the dense paths: one graph, and one compilation for all batch sizes."""

import pytest
import torch

from ...modeling.helpers import LATENTS, assert_close, make_model, media

KINDS = {"continuous": {}, "discrete": {"discrete": True}}
SIZES = {"image": (3, 32, 48), "clip of one tile and a rest": (20, 3, 32, 48)}
GRIDS = {"image": (1, 2, 3, LATENTS), "clip of one tile and a rest": (5, 2, 3, LATENTS)}


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch.compiler.reset()


def run_batches(function, shape: tuple[int, ...], backend="eager", batches=(2, 3, 5, 4)) -> None:
    """Compares compiled and eager outputs for several batches, of which only the first may compile."""
    compiled = torch.compile(function, backend=backend, fullgraph=True)
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=True):
        for batch in batches:
            inputs = media(batch, *shape, seed=batch)
            torch._dynamo.mark_dynamic(inputs, 0)
            actual, expected = compiled(inputs), function(inputs.clone())
            assert actual.keys() == expected.keys()
            for name, value in expected.items():
                assert_close(actual[name], value, 1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_encode(kind, size):
    model = make_model(**KINDS[kind])

    def encode(pixel_values):
        encoded = model.encode(pixel_values)
        wanted = ("latents", "codes", "pooler_output", "last_hidden_state", "coords", "cu_seqlens")
        return {name: encoded[name] for name in wanted if name in encoded}

    run_batches(encode, SIZES[size], backend="aot_eager" if size == "image" else "eager")


@pytest.mark.parametrize("size", GRIDS)
def test_decode(size):
    model = make_model()
    run_batches(lambda latents: {"pixel_values": model.decode(latents).pixel_values}, GRIDS[size])


def test_without_marking_it_takes_one_more_graph():
    """PyTorch compiles for the first size, notices at the second that the batch varies, and is done."""
    model = make_model()
    compiled = torch.compile(model.decode, backend="eager", fullgraph=True)
    with torch.no_grad():
        for batch in (2, 3):
            compiled(media(batch, *GRIDS["image"]))
        with torch._dynamo.config.patch(error_on_recompile=True):
            for batch in (4, 7):
                latents = media(batch, *GRIDS["image"])
                assert_close(compiled(latents).pixel_values, model.decode(latents).pixel_values, 1e-5)


def test_training_step():
    """The gradients of a compiled step are the eager ones, in float64, where rounding leaves the bound alone."""
    pixel_values = media(2, 3, 32, 32).double()
    gradients = []
    for backend in (None, "aot_eager"):
        model = make_model().double().train()

        def step(model, pixel_values):
            encoded = model.encode(pixel_values, pool=False)
            decoded = model.decode(encoded.latents.unflatten(0, (-1, 1, 2, 2))).pixel_values
            return (decoded[:, 0] - pixel_values).abs().mean() + encoded.latent_dist.kl().mean()

        run = torch.compile(step, backend=backend, fullgraph=True) if backend else step
        run(model, pixel_values).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert (gradient is None) == (gradients[1][name] is None), name
        if gradient is not None:
            assert_close(gradients[1][name], gradient, 1e-6)
