"""Tiny random models, a text tokenizer of bytes and prompts, made offline."""

from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from atoken import AtokenVisionConfig, AtokenVisionModel
from atoken.mllm import (
    AtokenLlavaForConditionalGeneration,
    AtokenLlavaImageProcessor,
    AtokenLlavaProcessor,
    AtokenLlavaVideoProcessor,
)

FIELDS = {"slow_frames": 3, "fast_grid": (2, 2)}


def tokenizer(context: int = 4096) -> PreTrainedTokenizerFast:
    """Every byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(["<pad>", *alphabet])}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", model_max_length=context)


def tower() -> AtokenVisionModel:
    torch.manual_seed(1)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return draw(AtokenVisionModel(AtokenVisionConfig(**size, position_embedding_size=4)), 1)


def language_model(tie: bool = False, vocab_size: int = 300) -> Qwen2ForCausalLM:
    torch.manual_seed(2)
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=tie,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return draw(Qwen2ForCausalLM(config), 2)


@torch.no_grad()
def draw(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Draws larger weights than the usual initialization, so that a picture changes the words."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        if parameter.ndim > 1 and "norm" not in name:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5)
    return model.eval()


def parts(**fields) -> tuple[AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor]:
    """A model and its processor, of small frames."""
    words = tokenizer()
    model = AtokenLlavaForConditionalGeneration.from_pretrained_parts(
        tower(), language_model(), words, **{**FIELDS, **fields}
    )
    draw(model.model.multi_modal_projector, 3)
    processor = AtokenLlavaProcessor.from_config(
        model.config,
        words,
        image_processor=AtokenLlavaImageProcessor(size={"min_pixels": 0, "max_pixels": 128**2}),
        video_processor=AtokenLlavaVideoProcessor(size={"min_pixels": 32**2, "max_pixels": 64**2}, max_frames=5),
    )
    return model, processor


@cache
def shared_parts():
    """`parts`, for tests that change nothing."""
    return parts()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def clip(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def question(text: str, **media) -> list[dict]:
    """One turn of a user: the media in the order given, such as `image=array`, then the text."""
    content = [
        {"type": kind, kind: value}
        for kind, values in media.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return [{"role": "user", "content": [*content, {"type": "text", "text": text}]}]


def mixed_batch() -> list[list[dict]]:
    """Image; video and image; text only; two images."""
    return [
        question("What is it?", image=picture(64, 96)),
        question("And here?", video=clip(9, 40, 64), image=picture(70, 33, 1)),
        question("Hello"),
        question("Which?", image=[picture(64, 64, 2), picture(96, 32, 3)]),
    ]


def model_inputs(processor: AtokenLlavaProcessor, conversations: list, **options):
    return processor.apply_chat_template(
        conversations,
        tokenize=True,
        return_dict=True,
        add_generation_prompt=options.pop("add_generation_prompt", True),
        processor_kwargs={"padding": True, "return_tensors": "pt", **options},
    )
