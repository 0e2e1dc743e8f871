"""Tiny random parts of diffusion pipelines, made offline, and what the tests of all families check with them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import accelerate
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

diffusers = pytest.importorskip("diffusers")

from atoken import AutoencoderAtoken  # noqa: E402

CHANNELS = 48
WIDTH = 16  # of every text encoder
HEIGHT, COLUMNS = 64, 32
PROMPT = "a red fox runs"
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "red", "fox", "runs", "over", "snow", "describe", "the", "video", ":"]
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "position_embedding_size": 4,
}
SIZE = {"height": HEIGHT, "width": COLUMNS}


@torch.no_grad()
def draw(model: torch.nn.Module, std: float = 0.1, seed: int = 0) -> torch.nn.Module:
    """Redraws matrices and biases, so that every part shows in the result; the usual initialization is far smaller."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if parameter.ndim > 1 or name.endswith("bias"):
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
    return model.eval().requires_grad_(False)


def make_vae(**options) -> AutoencoderAtoken:
    """48 channels, with statistics and factors that change the picture if a pipeline leaves one out."""
    options = {
        "latents_mean": [0.02 * channel - 0.3 for channel in range(CHANNELS)],
        "latents_std": [0.5 + 0.02 * channel for channel in range(CHANNELS)],
        "scaling_factor": 0.7,
        "shift_factor": 0.2,
        **options,
    }
    return draw(AutoencoderAtoken(vision_config=TOWER, decoder_config=TOWER, **options))


def tokenizer(length: int = 16) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=length,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def t5(config=T5Config, model=T5EncoderModel, width: int = WIDTH) -> torch.nn.Module:
    size = {"d_model": width, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    return draw(model(config(vocab_size=len(WORDS), **size)))


def umt5() -> torch.nn.Module:
    return t5(UMT5Config, UMT5EncoderModel)


def clip(projection: bool = False) -> torch.nn.Module:
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=WIDTH,
        max_position_embeddings=77,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return draw(CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config))


def llama() -> torch.nn.Module:
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return draw(LlamaModel(config))


def noise(*shape: int, seed: int = 5) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pixels(*shape: int, seed: int = 6) -> torch.Tensor:
    """Values in [0, 1], as pipelines take pictures."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def run(pipeline, seed: int = 0, **arguments) -> torch.Tensor:
    """The pictures (B, C, H, W) or videos (B, T, C, H, W) of a pipeline, or its latents."""
    pipeline.set_progress_bar_config(disable=True)
    arguments = {"num_inference_steps": 2, "output_type": "pt", **arguments}
    output = pipeline(generator=torch.Generator().manual_seed(seed), **arguments)
    return output.frames if hasattr(output, "frames") else output.images


@contextmanager
def standing_still(pipeline) -> Iterator[None]:
    """
    The denoiser predicts zero meanwhile, so a flow-matching scheduler hands on the latents that it was given.

    What comes out then depends on nothing but these latents and the autoencoder.
    """
    handle = pipeline.transformer.register_forward_hook(
        lambda module, arguments, output: tuple(torch.zeros_like(part) for part in output)
    )
    try:
        yield
    finally:
        handle.remove()


def as_shown(decoded: torch.Tensor) -> torch.Tensor:
    """What pipelines make of a decoder's pictures or videos (B, C, T, H, W): [0, 1], time before channels."""
    shown = (decoded / 2 + 0.5).clamp(0, 1)
    return shown.transpose(1, 2) if shown.ndim == 5 else shown


def assert_same(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def assert_pictures(pictures: torch.Tensor, *shape: int) -> None:
    """Of this shape, and neither empty nor saturated, so that comparing them means something."""
    assert pictures.shape == shape
    assert pictures.isfinite().all()
    assert pictures.std() > 0.01 and ((pictures > 0) & (pictures < 1)).float().mean() > 0.5


def check_slicing_and_tiling(pipeline, **arguments) -> None:
    """Either memory saver really works on smaller pieces, and changes no picture."""
    vae, expected = pipeline.vae, run(pipeline, **arguments)
    calls: list[int] = []
    handle = vae.decoder.blocks[0].register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0].shape[0]))

    def largest_piece() -> int:
        calls.clear()
        assert_same(run(pipeline, **arguments), expected)
        return max(calls)

    together = largest_piece()
    vae.enable_slicing()
    sliced = largest_piece()
    vae.enable_tiling()
    both = largest_piece()
    vae.disable_slicing()
    tiled = largest_piece()
    vae.disable_tiling()
    handle.remove()
    assert len(expected) > 1 and sliced < together
    if expected.ndim == 5:
        assert expected.shape[1] > 16 and tiled < together and both < sliced
    assert_same(run(pipeline, **arguments), expected)


def check_saved_and_loaded(pipeline, folder, **arguments) -> None:
    """The whole pipeline comes back from a folder, with the autoencoder in its own class, and makes the same."""
    expected = run(pipeline, **arguments)
    pipeline.save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    assert index["vae"] == ["atoken.autoencoder_atoken", "AutoencoderAtoken"]
    again = type(pipeline).from_pretrained(folder)
    assert type(again.vae) is AutoencoderAtoken
    before, after = (
        {name: value for name, value in vae.config.items() if not name.startswith("_")}
        for vae in (pipeline.vae, again.vae)
    )
    assert after == before
    assert again.components.keys() == pipeline.components.keys()
    assert_same(run(again, **arguments), expected)


def check_offloading(make_pipeline, device: str, **arguments) -> None:
    """
    All ways of diffusers to keep modules off the device change nothing.

    With the CPU as the device the hooks run all the same: sequential offloading empties every module and fills it for
    the time of its call.
    """
    pipeline = make_pipeline()
    pipeline.to(device)
    expected = run(pipeline, **arguments).cpu()
    tolerance = 2e-5 if device == "cpu" else 2e-3

    pipeline = make_pipeline()
    pipeline.enable_model_cpu_offload(device=device)
    assert pipeline.vae._hf_hook is not None
    assert_same(run(pipeline, **arguments).cpu(), expected, tolerance)
    assert {parameter.device.type for parameter in pipeline.vae.parameters()} == {"cpu"}
    pipeline.remove_all_hooks()

    pipeline = make_pipeline()
    if device == "cpu":
        # What the next line does to each module; as "cpu:0", which is its name for it, accelerate cannot empty a CPU.
        accelerate.cpu_offload(pipeline.vae, torch.device(device))
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
    assert all(parameter.is_meta for parameter in pipeline.vae.parameters())
    for _ in range(2):
        assert_same(run(pipeline, **arguments).cpu(), expected, tolerance)
    assert all(parameter.is_meta for parameter in pipeline.vae.parameters())

    for options in ({"offload_type": "leaf_level"}, {"offload_type": "block_level", "num_blocks_per_group": 1}):
        pipeline = make_pipeline()
        pipeline.to(device)
        pipeline.vae.to("cpu")
        pipeline.vae.enable_group_offload(torch.device(device), torch.device("cpu"), **options)
        assert_same(run(pipeline, **arguments).cpu(), expected, tolerance)


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]
