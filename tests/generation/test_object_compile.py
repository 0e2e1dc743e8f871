"""`torch.compile` of stage 1 of image to 3D: one graph, with the golden velocities and their gradients."""

import shutil

import pytest
import torch

from .test_object_flows_golden import STRUCTURE_TENSORS, STRUCTURE_WEIGHTS, assert_close, convert_sparse_structure_flow
from .test_object_flows_golden import part as named


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler on a CPU")


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=NEEDS_COMPILER)])
def test_one_graph_gives_the_golden_velocity(backend):
    golden = named(STRUCTURE_TENSORS, "flow.")
    model = convert_sparse_structure_flow(named(STRUCTURE_WEIGHTS, "flow.")).eval()
    given = golden["x"], golden["t"], golden["cond"]
    expected = torch.autograd.grad(model(*given).sample.square().mean(), list(model.parameters()), allow_unused=True)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    velocity = compiled(*given).sample
    assert_close(velocity.detach(), golden["velocity"])
    found = torch.autograd.grad(velocity.square().mean(), list(model.parameters()), allow_unused=True)
    for own, plain in zip(found, expected, strict=True):
        assert (own is None) == (plain is None)
        if own is not None and plain is not None:
            # Kernels sum in another order.
            assert (own - plain).abs().max() <= 1e-4 * plain.abs().max() + 1e-9
