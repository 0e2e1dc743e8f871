"""Tiny language models, tokenizers and processors around AtokenVisionModel, made offline."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from atoken import AtokenVisionConfig

SPECIAL = ["<image>", "<video>", "[IMG]", "[IMG_BREAK]", "[IMG_END]"]
WORDS = ["<pad>", "<s>", "</s>", "<unk>", *SPECIAL, "what", "is", "in", "the", "picture", "a", "red", "fox", "?"]
IMAGE, VIDEO, IMG = (WORDS.index(token) for token in ("<image>", "<video>", "[IMG]"))
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}  # [0, 1] to [-1, 1]
SIDE = 64


def vision_config(**options) -> AtokenVisionConfig:
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return AtokenVisionConfig(**size, position_embedding_size=4, **options)


def text_config(kind: type) -> LlamaConfig | Qwen2Config:
    return kind(
        vocab_size=len(WORDS),
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


@torch.no_grad()
def draw(model: torch.nn.Module) -> torch.nn.Module:
    """Larger weights than the usual initialization, so that a picture changes the words."""
    generator = torch.Generator().manual_seed(0)
    for _, parameter in sorted(model.named_parameters()):
        if parameter.ndim > 1:
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def llava(image_token: int = IMAGE, **options) -> LlavaForConditionalGeneration:
    config = LlavaConfig(
        **{
            "vision_config": vision_config(),
            "text_config": text_config(LlamaConfig),
            "image_token_index": image_token,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            **options,
        }
    )
    return draw(LlavaForConditionalGeneration(config))


def llava_onevision() -> LlavaOnevisionForConditionalGeneration:
    config = LlavaOnevisionConfig(
        vision_config=vision_config(image_size=SIDE),
        text_config=text_config(Qwen2Config),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[SIDE, SIDE], [SIDE, 2 * SIDE]],
    )
    return draw(LlavaOnevisionForConditionalGeneration(config))


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=SPECIAL,
        padding_side="left",
    )


def fixed_size_processor() -> LlavaProcessor:
    """Every picture 64 x 32."""
    images = CLIPImageProcessor(size={"height": 64, "width": 32}, do_center_crop=False, **HALF)
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer(),
        patch_size=16,
        vision_feature_select_strategy="full",
        image_token="<image>",
        num_additional_image_tokens=0,
    )


def any_size_processor() -> PixtralProcessor:
    """Every picture at its own aspect ratio, at most 64 on a side, filled up to the largest, with `image_sizes`."""
    images = PixtralImageProcessor(patch_size={"height": 16, "width": 16}, size={"longest_edge": 64}, **HALF)
    return PixtralProcessor(image_processor=images, tokenizer=tokenizer(), patch_size=16, spatial_merge_size=1)


def onevision_processor() -> LlavaOnevisionProcessor:
    size = {"height": SIDE, "width": SIDE}
    return LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(
            size=size, image_grid_pinpoints=[[SIDE, SIDE], [SIDE, 2 * SIDE]], **HALF
        ),
        video_processor=LlavaOnevisionVideoProcessor(size=size, **HALF),
        tokenizer=tokenizer(),
        num_image_tokens=(SIDE // 16) ** 2,
        vision_feature_select_strategy="full",
    )
