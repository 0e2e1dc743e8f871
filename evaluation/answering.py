"""The multimodal language model at work on files: loading it by a name, reading media, answering questions."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from atoken.mllm import AtokenLlavaConfig, AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor
from atoken.processing.media_reading_atoken import open_image, read_video
from atoken.tokenizing.loading import digest_of_weights, quieten_libraries, resolve_device
from atoken_headers.model_folders import ANSWERING_MODEL, find_model

from .dtypes import checked_dtype

_SIXTEEN_BITS = 65535  # white of pictures with more than 8 bits


@dataclass(frozen=True)
class LoadedAnswerer:
    """
    Holds a multimodal language model with its processor.

    Attributes:
        model: in evaluation mode, on its device.
        processor: of its folder.
        name: what leads to it again: an embedded name, an absolute folder, or a Hub name.
        fingerprint: 32 hexadecimal digits of configuration and weights, to tell models apart.
    """

    model: AtokenLlavaForConditionalGeneration
    processor: AtokenLlavaProcessor
    name: str
    fingerprint: str


@dataclass(frozen=True)
class Medium:
    """
    Holds an image or the frames that are taken of a video.

    Attributes:
        kind: "image" or "video".
        pixels: (3, H, W) or (T, H, W, 3), uint8 or floats in [0, 1].
        metadata: of a video, with the indices of its frames.
    """

    kind: str
    pixels: torch.Tensor
    metadata: Any = None


@dataclass(frozen=True)
class Answer:
    """Holds an answer, the tokens of its prompt, those of media included, and the seconds that it took."""

    text: str
    prompt_tokens: int
    seconds: float


def load_answerer(name: str | None = None, device: str = "auto", dtype: str = "float32") -> LoadedAnswerer:
    """
    Loads a multimodal language model and its processor.

    Args:
        name: a folder, a Hub name, or an embedded checkpoint's name; atoken-tiny-llava if None.
        device: "auto", "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16".

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: the folder is that of another model, incomplete or damaged, or an option is out of range.
    """
    wanted, target = checked_dtype(dtype), resolve_device(device)
    folder, label = find_model(ANSWERING_MODEL if name is None else name)
    _check_kind(folder)
    quieten_libraries()
    try:
        model, report = AtokenLlavaForConditionalGeneration.from_pretrained(
            folder, dtype=wanted, output_loading_info=True, ignore_mismatched_sizes=True
        )
        processor = AtokenLlavaProcessor.from_pretrained(folder)
    except Exception as error:
        # What libraries raise for files that are damaged or missing is of many types.
        raise ValueError(f"model: {folder} cannot be loaded: {error}") from error
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if report[problem]:
            raise ValueError(
                f"model: the weights in {folder} do not fit its config.json, {problem.replace('_', ' ')}: "
                f"{', '.join(sorted(map(str, report[problem]))[:3])}"
            )
    if processor.token_counts != model.config.token_counts:
        raise ValueError(
            f"processor must count tokens as the model does, {model.config.token_counts}, got "
            f"{processor.token_counts} in {folder}"
        )
    fingerprint = digest_of_weights([vars(model.config.token_counts)], model.state_dict())
    return LoadedAnswerer(model.to(target).eval(), processor, label, fingerprint)


def _check_kind(folder: Path) -> None:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"model: {folder / 'config.json'} cannot be read: {error}") from error
    if kind != AtokenLlavaConfig.model_type:
        raise ValueError(
            f'model must be a multimodal language model (model_type "{AtokenLlavaConfig.model_type}"), got {kind!r} in '
            f"{folder / 'config.json'}; docs/mllm.md says how one is made"
        )


def read_medium(loaded: LoadedAnswerer, path: Path, kind: str, max_frames: int | None = None) -> Medium:
    """
    Reads an image, or of a video the frames that its processor chooses.

    Args:
        loaded: whose video processor chooses frames.
        path: of the file.
        kind: "image" or "video".
        max_frames: frames, at most; by default the processor's own number.

    Raises:
        ValueError, FileNotFoundError, ImportError: naming the file, if it cannot be read.
    """
    if kind == "image":
        pixels = open_image(path, "image")
        return Medium(kind, pixels.float() / _SIXTEEN_BITS if pixels.dtype == torch.uint16 else pixels)
    chooser = loaded.processor.video_processor
    frames, metadata = read_video(
        path, lambda metadata: chooser.sample_frames(metadata, max_frames=max_frames).tolist(), "video"
    )
    return Medium(kind, frames, metadata)


@torch.no_grad()
def answer(loaded: LoadedAnswerer, media: Sequence[Medium], question: str, max_new_tokens: int) -> Answer:
    """
    Answers a question about media, which stand before it in their order, greedily.

    Args:
        loaded: the model.
        media: images and videos, mixed.
        question: plain text.
        max_new_tokens: tokens of the answer, at most.

    Raises:
        ValueError: the question is empty or holds a placeholder of media, or the prompt is longer than the context.
    """
    processor, started = loaded.processor, time.perf_counter()
    if not question.strip():
        raise ValueError("question must be a text, got an empty one")
    for token in (processor.image_token, processor.video_token):
        if token in question:
            raise ValueError(f"question must be plain text, got {token}, which stands for a medium")
    content = [{"type": medium.kind} for medium in media]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
    images = [medium.pixels for medium in media if medium.kind == "image"]
    videos = [medium for medium in media if medium.kind == "video"]
    inputs = processor(
        text=[processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)],
        images=images or None,
        videos=[video.pixels for video in videos] or None,
        images_kwargs={"input_data_format": "channels_first"},
        videos_kwargs={
            "input_data_format": "channels_last",
            "do_sample_frames": False,
            "video_metadata": [video.metadata for video in videos] or None,
        },
        return_tensors="pt",
    )
    inputs = inputs.to(loaded.model.device)
    length = inputs["input_ids"].shape[1]
    ids = loaded.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
    (text,) = processor.batch_decode(ids[:, length:], skip_special_tokens=True)
    return Answer(text.strip(), length, time.perf_counter() - started)
