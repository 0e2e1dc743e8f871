"""Our multimodal language model as a chat model of lmms-eval, which has the paper's thirteen tasks (section 5.1).

lmms-eval runs in an environment of its own, as it wants older versions of other packages: see docs/mllm.md.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval.api.model import lmms  # pyright: ignore[reportMissingImports]
from lmms_eval.protocol import ChatMessages  # pyright: ignore[reportMissingImports]

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor

from .chat_answers import answer_conversations


class LmmsAtokenLlava(lmms):
    """
    Answers the questions of lmms-eval's tasks.

    Args:
        pretrained: folder or Hub name of the model with its processor.
        dtype: number type of the weights, such as "bfloat16".
        device: where to run; by default a GPU of this process if there is one.
        batch_size: questions at a time.
        max_frames: frames, at most, of a video; by default the processor's.
        max_new_tokens: tokens of an answer, where a task states none.

    Raises:
        ValueError: if an argument does not fit.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        dtype: str = "bfloat16",
        device: str | None = None,
        batch_size: int | str = 1,
        max_frames: int | None = None,
        max_new_tokens: int = 1024,
    ):
        super().__init__()
        if not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ValueError(f'dtype must be a number type of torch, such as "bfloat16", got {dtype!r}')
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}")
        self.accelerator = Accelerator(cpu=device == "cpu")
        alone = self.accelerator.num_processes == 1
        self.device = torch.device(device) if device and alone else self.accelerator.device
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        self.batch_size, self.max_frames, self.max_new_tokens = int(batch_size), max_frames, max_new_tokens
        self.model = AtokenLlavaForConditionalGeneration.from_pretrained(pretrained, dtype=getattr(torch, dtype))
        self.model.to(self.device).eval()
        self.processor = AtokenLlavaProcessor.from_pretrained(pretrained)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """
        Answers requests, greedily unless a task asks for a temperature.

        Args:
            requests: whose `args` are context, the function that makes messages of a document, settings of generation,
                number of the document, task and split.

        Returns:
            One text for each, cut before the first of the task's `until`.
        """
        answers: list[str] = []
        for arguments in _batches([request.args for request in requests], self.batch_size):
            settings = arguments[0][2]
            conversations = [self._messages(*each) for each in arguments]
            texts = answer_conversations(
                self.model, self.processor, conversations, self.max_new_tokens, settings, self.max_frames
            )
            for each, text in zip(arguments, texts, strict=True):
                answers.append(_cut(text, settings.get("until")))
                self.cache_hook.add_partial("generate_until", (each[0], settings), answers[-1])
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Raises NotImplementedError: the tasks of the paper ask for answers."""
        raise NotImplementedError("loglikelihood is not computed: choose a task that generates answers")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Raises NotImplementedError: the tasks of the paper have one round."""
        raise NotImplementedError("rounds are not played: choose a task of one round")

    def _messages(self, context, doc_to_messages, settings, document, task, split) -> list[dict[str, Any]]:
        """Gives the messages of a document, as chat templates take them."""
        messages = ChatMessages(messages=doc_to_messages(self.task_dict[task][split][document])).to_hf_messages()
        for part in (part for message in messages for part in message["content"]):
            extra = set(part) - {"type", part["type"]}
            if extra:
                raise ValueError(f"{task} must show whole media, got {', '.join(sorted(extra))} with a {part['type']}")
        return messages


def _batches(arguments: list[tuple], size: int) -> Iterator[list[tuple]]:
    """Yields neighbors with the same settings of generation, `size` at a time."""
    for _, group in groupby(arguments, key=lambda each: each[2]):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def _cut(text: str, until: str | Sequence[str] | None) -> str:
    """Gives the text before the first of some ends."""
    for end in [until] if isinstance(until, str) else until or []:
        if end:
            text = text.partition(end)[0]
    return text.strip()
