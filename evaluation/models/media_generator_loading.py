"""The pipeline of a generator of images and videos of texts, loaded without running any code of its folder."""

from dataclasses import dataclass

import torch

from atoken.generation import TextToMediaPipeline
from atoken.tokenizing.loading import digest_of_weights
from atoken_headers.generator_folders import TEXT_TO_MEDIA

from .generator_folder import open_generator


@dataclass(frozen=True)
class LoadedMediaGenerator:
    """
    Holds the pipeline of a generator.

    Attributes:
        pipeline: on its device.
        name: what leads to it again: an embedded name, an absolute folder, or a Hub name.
        fingerprint: 32 hexadecimal digits of the transformer's weights, to tell generators apart.
    """

    pipeline: TextToMediaPipeline
    name: str
    fingerprint: str


def load_media_generator(name: str | None = None, device: str = "auto", dtype: str = "float32") -> LoadedMediaGenerator:
    """
    Loads a generator.

    Args:
        name: a folder, a Hub name, or an embedded generator's name; text-to-media-tiny if None.
        device: "auto", "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16".

    Raises:
        FileNotFoundError: there is no such generator.
        ValueError: the folder is that of another pipeline, incomplete or damaged, or an option is out of range.
    """
    found = open_generator(TEXT_TO_MEDIA if name is None else name, [TextToMediaPipeline.__name__], device, dtype)
    try:
        pipeline = TextToMediaPipeline.from_pretrained(found.path, dtype=torch.float32)
    except Exception as error:
        # What libraries raise for files that are damaged or missing is of many types.
        raise ValueError(f"model: {found.path} cannot be loaded: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    # Before the dtype changes, so that it does not depend on the one asked for.
    fingerprint = digest_of_weights([], pipeline.transformer.state_dict())
    pipeline.to(found.device, found.dtype)
    return LoadedMediaGenerator(pipeline, found.label, fingerprint)
