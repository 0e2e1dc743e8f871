"""AToken as the vision tower of LLaVA: python examples/llava_tower.py

The tower is the embedded checkpoint's, the language model tiny and random, so that this runs offline; the answer is
gibberish until the projector and the language model are trained.
"""

from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
)

from atoken import AtokenVisionModel

root = Path(__file__).resolve().parent.parent
torch.manual_seed(0)

tower = AtokenVisionModel.from_pretrained(root / "checkpoints/atoken-tiny", dtype=torch.float32)

special = ["[IMG]", "[IMG_BREAK]", "[IMG_END]"]
words = ["<pad>", "<unk>", "</s>", *special, "what", "is", "this", "?", "a", "cat", "some", "dogs"]
tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    pad_token="<pad>",
    unk_token="<unk>",
    eos_token="</s>",
    additional_special_tokens=special,
    padding_side="left",
)

config = LlavaConfig(
    vision_config=tower.config,
    text_config=LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    ),
    image_token_index=words.index("[IMG]"),
    vision_feature_layer=-1,
    vision_feature_select_strategy="full",  # AToken has no class token to drop
)
model = LlavaForConditionalGeneration(config)
model.model.vision_tower.load_state_dict(tower.state_dict())
model.model.vision_tower.requires_grad_(False)

# Every picture keeps its aspect ratio; sizes become multiples of the patch, and values lie in [-1, 1].
processor = PixtralProcessor(
    image_processor=PixtralImageProcessor(
        patch_size={"height": 16, "width": 16},
        size={"longest_edge": 128},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    ),
    tokenizer=tokenizer,
    patch_size=16,
    spatial_merge_size=1,
)
photos = [[Image.open(root / "examples/media" / name)] for name in ("cat.jpg", "pavilion.jpg")]
inputs = processor(images=photos, text=["[IMG] what is this ?"] * 2, padding=True, return_tensors="pt")
print("sizes of the pictures:", inputs.image_sizes.tolist(), " tokens:", tuple(inputs.input_ids.shape))

labels = inputs.input_ids.masked_fill(inputs.input_ids < 6, -100)  # neither filling nor pictures are predicted
print("loss:", f"{model(**inputs, labels=labels).loss.item():.3f}")

model.eval()
answers = model.generate(**inputs, max_new_tokens=4, do_sample=False, suppress_tokens=list(range(6)))
print("answers:", tokenizer.batch_decode(answers[:, inputs.input_ids.shape[1] :]))
