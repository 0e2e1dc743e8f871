"""A question about pictures and videos: python examples/ask.py photo.jpg clip.mp4 "What is this?" --model FOLDER

FOLDER holds a trained model (docs/mllm.md). Without it, the embedded model answers, which knows drawn pictures and
clips of single things: their color, shape, surface, place and motion. `atoken ask` does the same.
"""

import argparse
from pathlib import Path

import torch

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor
from atoken.processing.media_suffixes_atoken import media_kind

EMBEDDED = Path(__file__).resolve().parent.parent / "checkpoints/atoken-tiny-llava"

parser = argparse.ArgumentParser()
parser.add_argument("files", nargs="+", help="pictures and videos")
parser.add_argument("question")
parser.add_argument("--model", default=EMBEDDED, help="folder or Hub name of a trained model")
arguments = parser.parse_args()

model = AtokenLlavaForConditionalGeneration.from_pretrained(arguments.model, dtype=torch.float32)
processor = AtokenLlavaProcessor.from_pretrained(arguments.model)

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
