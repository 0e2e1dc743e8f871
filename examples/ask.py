"""A question about pictures and videos: python examples/ask.py photo.jpg clip.mp4 "What is this?" --model FOLDER

FOLDER holds a trained model (docs/mllm.md). Without it, the encoder is the embedded checkpoint's and the language model
tiny and random, so that this runs offline; the answer is gibberish then.
"""

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from atoken import AtokenVisionModel
from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor
from atoken.processing.media_suffixes_atoken import media_kind

parser = argparse.ArgumentParser()
parser.add_argument("files", nargs="+", help="pictures and videos")
parser.add_argument("question")
parser.add_argument("--model", help="folder or Hub name of a trained model")
arguments = parser.parse_args()

if arguments.model:
    model = AtokenLlavaForConditionalGeneration.from_pretrained(arguments.model)
    processor = AtokenLlavaProcessor.from_pretrained(arguments.model)
else:
    root = Path(__file__).resolve().parent.parent
    torch.manual_seed(0)
    letters = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    by_bytes = Tokenizer(models.BPE(vocab=letters, merges=[]))
    by_bytes.pre_tokenizer, by_bytes.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=by_bytes, pad_token="<pad>")
    language_model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    tower = AtokenVisionModel.from_pretrained(root / "checkpoints/atoken-tiny")
    model = AtokenLlavaForConditionalGeneration.from_pretrained_parts(tower, language_model, tokenizer)
    processor = AtokenLlavaProcessor.from_config(model.config, tokenizer)

kinds = [media_kind(file) for file in arguments.files]
if not set(kinds) <= {"image", "video"}:
    parser.error(f"files must be pictures and videos, got {arguments.files}")
media = [{"type": kind, kind: file} for kind, file in zip(kinds, arguments.files, strict=True)]
messages = [{"role": "user", "content": [*media, {"type": "text", "text": arguments.question}]}]
inputs = processor.apply_chat_template(
    messages, tokenize=True, return_dict=True, add_generation_prompt=True, return_tensors="pt"
)
print("tokens of the prompt:", inputs.input_ids.shape[1])
answer = model.generate(**inputs, max_new_tokens=32, do_sample=False)[:, inputs.input_ids.shape[1] :]
print("answer:", processor.batch_decode(answer, skip_special_tokens=True)[0])
