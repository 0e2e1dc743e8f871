"""`torch.compile`: the language model is one graph in prefill and in decoding, with the answers of the plain model."""

import pytest
import torch
from transformers import CompileConfig

from .parts import mixed_batch, model_inputs, parts

COUNTERS = torch._dynamo.utils.counters


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    COUNTERS.clear()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("cache", ["static", None])
def test_the_language_model_is_compiled_without_breaks(cache):
    """Shapes of prefill and of decoding differ; a cache that grows is compiled once more, for any length."""
    model, processor = parts()
    inputs = model_inputs(processor, mixed_batch())
    options = {"max_new_tokens": 6, "do_sample": False, "cache_implementation": cache}
    expected = model.generate(**inputs, **options)
    language_model = model.model.language_model
    language_model.forward = torch.compile(language_model.forward, backend="aot_eager", fullgraph=True)
    assert torch.equal(model.generate(**inputs, **options), expected)
    assert not COUNTERS["graph_break"]
    assert 2 <= COUNTERS["stats"]["unique_graphs"] <= (2 if cache else 4)


def test_generate_compiles_the_whole_model_for_decoding():
    """As it does by itself on GPUs with a static cache: one graph for all steps after the first."""
    model, processor = parts()
    inputs = model_inputs(processor, mixed_batch())
    options = {"max_new_tokens": 6, "do_sample": False, "cache_implementation": "static"}
    expected = model.generate(**inputs, **options)
    config = CompileConfig(fullgraph=True, backend="eager", mode=None)
    config._compile_all_devices = True
    assert torch.equal(model.generate(**inputs, **options, compile_config=config), expected)
    assert COUNTERS["stats"]["unique_graphs"] == 1 and not COUNTERS["graph_break"]


def test_a_training_step_of_the_language_model():
    """The gradients of a compiled language model are the uncompiled ones, through media as well."""
    gradients = []
    for backend in (None, "aot_eager"):
        model, processor = parts()
        model.train().model.vision_tower.requires_grad_(False)
        if backend:
            language_model = model.model.language_model
            language_model.forward = torch.compile(language_model.forward, backend=backend, fullgraph=True)
        inputs = model_inputs(processor, mixed_batch())
        labels = inputs.input_ids.masked_fill(inputs.attention_mask == 0, -100)
        model(**inputs, labels=labels, use_cache=False).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)
