"""Answers of the multimodal language model to conversations, as lmms-eval's tasks and our own measurements ask."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor


@torch.no_grad()
def answer_conversations(
    model: AtokenLlavaForConditionalGeneration,
    processor: AtokenLlavaProcessor,
    conversations: Sequence[list[dict[str, Any]]],
    max_new_tokens: int,
    settings: Mapping[str, Any] | None = None,
    max_frames: int | None = None,
) -> list[str]:
    """
    Answers conversations together, greedily unless a temperature is set.

    Args:
        conversations: messages of each, the last one the user's.
        max_new_tokens: of an answer, where the settings state none.
        settings: of generation, as lmms-eval's tasks state them: max_new_tokens, temperature, top_p, num_beams.
        max_frames: frames, at most, of a video; by default the processor's.

    Returns:
        One text for each.
    """
    settings = settings or {}
    options = {} if max_frames is None else {"max_frames": max_frames}
    inputs = processor.apply_chat_template(
        list(conversations),
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, **options},
    ).to(model.device)
    temperature = settings.get("temperature") or 0
    sampling = {"temperature": temperature, "top_p": settings.get("top_p")} if temperature else {}
    ids = model.generate(
        **inputs,
        max_new_tokens=settings.get("max_new_tokens", max_new_tokens),
        num_beams=settings.get("num_beams", 1),
        do_sample=bool(sampling),
        **sampling,
    )
    return processor.batch_decode(ids[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
