"""One processor for everything a model takes: images, videos, 3D objects and texts."""

import copy
import os
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ImageInput
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin, Unpack
from transformers.utils.hub import cached_file
from transformers.video_utils import VideoInput

from .image_processing_atoken import AtokenImageProcessor, AtokenImageProcessorKwargs, output_statistics
from .packing_atoken import (
    MODEL_INPUT_NAMES,
    check_output_type,
    check_return_tensors,
    join_packed,
    media_to_output,
    split_packed,
)
from .patching_atoken import unpatchify
from .pipelines_atoken import PIPELINES  # noqa: F401 (so that the folder of a remote processor has them)
from .remote_code_atoken import auto_class_of, bind_to_package
from .text_processing_atoken import check_texts, tokenize_text
from .video_processing_atoken import AtokenVideoProcessor, AtokenVideoProcessorKwargs
from .views_atoken import as_views
from .voxel_processing_atoken import AtokenVoxelProcessor, Voxels, unpack_voxels

# Any one of these shows that a checkpoint has a tokenizer.
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model")


class AtokenTextKwargs(TypedDict, total=False):
    """Holds what a caller can choose about the text; see `tokenize_text`."""

    padding: bool | str
    truncation: bool | str
    max_length: int
    padding_side: str
    return_tensors: str | None


class AtokenProcessorKwargs(ProcessingKwargs, total=False):
    text_kwargs: AtokenTextKwargs
    images_kwargs: AtokenImageProcessorKwargs
    videos_kwargs: AtokenVideoProcessorKwargs


class AtokenProcessor(ProcessorMixin):
    """
    Packs images, videos and 3D objects into one batch of tokens, and tokenizes texts.

    Args:
        image_processor: `AtokenImageProcessor`; by default a new one.
        video_processor: `AtokenVideoProcessor`; by default a new one.
        tokenizer: a transformers tokenizer, or None for a processor that takes no text.
        voxel_processor: `AtokenVoxelProcessor`, or its dictionary as processor_config.json holds it; by default a new
            one.
    """

    _auto_class = auto_class_of(__name__, "AutoProcessor")
    valid_processor_kwargs = AtokenProcessorKwargs
    text_kwargs = {"padding": "max_length", "truncation": True, "max_length": 64}

    def __init__(
        self,
        image_processor: AtokenImageProcessor | None = None,
        video_processor: AtokenVideoProcessor | None = None,
        tokenizer: Any = None,
        voxel_processor: AtokenVoxelProcessor | dict[str, Any] | None = None,
    ):
        image_processor = AtokenImageProcessor() if image_processor is None else image_processor
        video_processor = AtokenVideoProcessor() if video_processor is None else video_processor
        super().__init__(image_processor, video_processor, tokenizer)
        # The base class checks only parts of the modalities it knows, and passes others on as they stand in the file.
        if isinstance(voxel_processor, dict):
            voxel_processor = AtokenVoxelProcessor.from_dict(voxel_processor)
        self.voxel_processor = AtokenVoxelProcessor() if voxel_processor is None else voxel_processor
        if not isinstance(self.voxel_processor, AtokenVoxelProcessor):
            given = type(voxel_processor).__name__
            raise TypeError(f"voxel_processor must be an AtokenVoxelProcessor, got {given}.")

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | Sequence[str] | None = None,
        videos: VideoInput | None = None,
        *others: None,
        voxels: Any = None,
        **kwargs: Unpack[AtokenProcessorKwargs],
    ) -> BatchFeature:
        """Make the inputs of a model.

        Args:
            images: one image or a list, as for `AtokenImageProcessor`.
            text: a string or a list of strings.
            videos: one video or a list, as for `AtokenVideoProcessor`.
            others: `audio`, by position or name, which must be None; callers of any processor of transformers pass it.
            voxels: one 3D object or a list: `Views`; the path of a mesh, which is looked at from 16 sides, or of a
                folder of views; or a dictionary of `images`, `world_to_camera`, `intrinsics`, and `depths` or `masks`.
            kwargs: options of the image processor, the video processor and the tokenizer. An option goes to each that
                knows it; `images_kwargs`, `videos_kwargs` and `text_kwargs` address one alone, and `audio_kwargs` has
                no effect. `return_tensors` is "pt" by default.

        Returns:
            `BatchFeature`. With images, videos or voxels: `pixel_values` (N, 3072), `coords` (N, 4), `cu_seqlens`
            (B + 1,), `media_sizes` (B, 3), `pixel_mask` (N, 1024), False for padding, and `is_video` (B,): the images
            first, then the videos, then the voxels, whose sizes are 0.
            With text: `input_ids` (number of texts, 64). With videos and `return_metadata=True`: `video_metadata`, a
            list.

        Raises:
            FileNotFoundError: a path does not exist.
            ValueError: nothing is given, audio, text without a tokenizer, or bad media or options; the message names
                which.
        """
        # The signature does not name it, as transformers takes a processor that does for one of audio.
        for given in (*others, kwargs.pop("audio", None)):
            if given is not None:
                raise ValueError(
                    "audio must be None, since the model takes images, videos, 3D objects and text, got "
                    f"{type(given).__name__}. Leave it out; of a video only the pictures are read."
                )
        if images is None and videos is None and text is None and voxels is None:
            raise ValueError("images, videos, voxels or text must be given, got none of the four.")
        if text is not None:
            text = check_texts(text)
            if self.tokenizer is None:
                raise ValueError(
                    "text must go through a tokenizer, and this processor has no tokenizer. Load a checkpoint with "
                    "tokenizer files, or pass AtokenProcessor(..., tokenizer=AutoTokenizer.from_pretrained(...))."
                )
        options = self._options_by_modality(kwargs)
        return_tensors = check_return_tensors(options["text_kwargs"].pop("return_tensors", None))
        for modality in ("images_kwargs", "videos_kwargs"):
            options[modality]["return_tensors"] = "pt"

        data: dict[str, Any] = {}
        # Text first: it is quick, and its mistakes should not wait for the decoding of a video.
        if text is not None:
            data["input_ids"] = tokenize_text(self.tokenizer, text, **options["text_kwargs"])
        batches = []
        if images is not None:
            batches.append(self.image_processor(images, **options["images_kwargs"]))
        if videos is not None:
            batches.append(self.video_processor(videos, **options["videos_kwargs"]))
            if "video_metadata" in batches[-1]:
                data["video_metadata"] = batches[-1]["video_metadata"]
        if voxels is not None:
            objects = list(voxels) if isinstance(voxels, (list, tuple)) else [voxels]
            if not objects:
                raise ValueError("voxels must be at least one object, got an empty list.")
            objects = [as_views(source, f"voxels[{index}]") for index, source in enumerate(objects)]
            batches += [self.voxel_processor(**views.arguments()) for views in objects]
        if batches:
            device = _common_device(options)
            data.update(join_packed([batch.to(device) for batch in batches] if device is not None else batches))
        return BatchFeature(data, tensor_type=return_tensors, skip_tensor_conversion=["video_metadata"])

    def post_process(
        self,
        pixel_values: torch.Tensor,
        coords: torch.Tensor,
        cu_seqlens: torch.Tensor,
        media_sizes: torch.Tensor,
        output_type: str = "pt",
        is_video: torch.Tensor | None = None,
        pixel_mask: torch.Tensor | None = None,
    ) -> list[torch.Tensor | np.ndarray | Image.Image | list[Image.Image] | Voxels]:
        """Turn tokens, such as a decoder returns, back into images and videos of exactly their true size, and voxels.

        Args:
            pixel_values: (N, 3072), any floating point dtype.
            coords: (N, 4) integer.
            cu_seqlens: (B + 1,) integer.
            media_sizes: (B, 3) integer; a sample of size 0 are voxels.
            output_type: "pt", "np" or "pil".
            is_video: (B,) bool, as `__call__` gives it. Without it a sample of one frame counts as an image.
            pixel_mask: has no effect; it is taken so that all that `__call__` gives can be passed on.

        Returns:
            One entry per sample, in the order of the batch. "pt": float32 in [0, 1], an image (3, H, W) or a video
            (T, 3, H, W); "np": uint8 (H, W, 3) or (T, H, W, 3); "pil": an image or a list of them. Voxels are `Voxels`
            with patches of that type.

        Raises:
            ValueError: the arguments do not fit together.
        """
        check_output_type(output_type)
        samples = split_packed(pixel_values, coords, cu_seqlens, media_sizes)
        videos = _check_is_video(is_video, len(samples))
        outputs = []
        for (tokens, places, size), video in zip(samples, videos, strict=True):
            if not any(size):
                outputs.append(unpack_voxels(tokens, places, output_type))
                continue
            sample = unpatchify(tokens, places, size, self.image_processor.patch_size)
            video = len(sample) > 1 if video is None else video
            if len(sample) > 1 and not video:
                raise ValueError(f"is_video must be True for a sample of several frames, got False for {size}.")
            processor = self.video_processor if video else self.image_processor
            output = media_to_output(sample, output_type, *output_statistics(processor))
            outputs.append(output if video else output[0])
        return outputs

    @property
    def model_input_names(self) -> list[str]:
        """Names what `__call__` returns for a model: tokens, and `input_ids` if there is a tokenizer."""
        return [*MODEL_INPUT_NAMES, *(["input_ids"] if self.tokenizer is not None else [])]

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """As in the base class, but there need not be a tokenizer."""
        if argument_name == "tokenizer" and argument is None:
            return None
        return super().check_argument_for_proper_class(argument_name, argument)

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Write processor_config.json, whose path is returned in a list, and the files of the tokenizer, if any."""
        if self.tokenizer is not None:
            return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        # The base class saves every part it knows of; one that writes nothing takes the place of the absent tokenizer.
        writable = copy.copy(self)
        writable.tokenizer = _NoTokenizer()
        return ProcessorMixin.save_pretrained(writable, save_directory, push_to_hub=push_to_hub, **kwargs)

    @classmethod
    def _get_arguments_from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        processor_dict: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        # The parts are classes of this package, so they load without being registered for auto classes.
        subfolder = kwargs.pop("subfolder", "")
        parts = [
            part.from_pretrained(pretrained_model_name_or_path, subfolder=subfolder, **kwargs)
            for part in (AtokenImageProcessor, AtokenVideoProcessor)
        ]
        location = {
            name: kwargs[name]
            for name in ("cache_dir", "force_download", "local_files_only", "token", "revision")
            if name in kwargs
        }
        has_tokenizer = any(
            cached_file(
                pretrained_model_name_or_path,
                filename,
                subfolder=subfolder,
                _raise_exceptions_for_missing_entries=False,
                **location,
            )
            for filename in _TOKENIZER_FILES
        )
        if not has_tokenizer:
            return [*parts, None]
        tokenizer = cls._load_tokenizer_from_pretrained(
            "tokenizer", pretrained_model_name_or_path, subfolder=subfolder, **kwargs
        )
        return [*parts, tokenizer]

    def _options_by_modality(self, given: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Distribute the options of a call; `ValueError` if nobody knows one or it is given twice."""
        schemas = {
            name: schema
            for name, schema in AtokenProcessorKwargs.__annotations__.items()
            if name in ("text_kwargs", "images_kwargs", "videos_kwargs")
        }
        given = dict(given)
        audio_options = given.pop("audio_kwargs", None)
        if audio_options is not None and not isinstance(audio_options, dict):
            raise ValueError(f"audio_kwargs must be a dictionary of options, got {type(audio_options).__name__}.")
        known = {"common_kwargs"}.union(schemas, *(schema.__annotations__ for schema in schemas.values()))
        for name in given:
            if name not in known:
                raise ValueError(f"options must be known, got {name!r}. There are {', '.join(sorted(known))}.")
        for name in given.keys() & {"common_kwargs", *schemas}:
            if not isinstance(given[name], dict):
                raise ValueError(f"{name} must be a dictionary of options, got {type(given[name]).__name__}.")
            allowed = schemas[name].__annotations__ if name in schemas else known
            for option in given[name]:
                if option not in allowed:
                    expected = ", ".join(sorted(allowed))
                    raise ValueError(f"{name} must be one of {expected}, got the unknown option {option!r}.")
        # As options of the call itself, common ones reach each part that knows them and no other.
        given = {**given.get("common_kwargs", {}), **given}
        given.pop("common_kwargs", None)
        if "return_tensors" in given:
            check_return_tensors(given["return_tensors"])
        tokenizer_options = {} if self.tokenizer is None else self.tokenizer.init_kwargs
        # The side on which a tokenizer pads by itself is meant for generation; the text tower was trained on the right.
        tokenizer_options = {name: value for name, value in tokenizer_options.items() if name != "padding_side"}
        try:
            merged = self._merge_kwargs(AtokenProcessorKwargs, tokenizer_init_kwargs=tokenizer_options, **given)
        except StrictDataclassError as error:
            raise ValueError(" ".join(str(error).split())) from error
        return {name: dict(merged[name]) for name in schemas}


def _common_device(options: dict[str, dict[str, Any]]) -> torch.device | None:
    """The device that images and videos are asked for on, where voxels go as well; None if nobody asks for one."""
    asked = (options[kind].get("device") for kind in ("images_kwargs", "videos_kwargs"))
    devices = {torch.device(each) for each in asked if each is not None}
    if len(devices) > 1:
        raise ValueError(f"device must be one for images and videos, got {' and '.join(sorted(map(str, devices)))}.")
    return devices.pop() if devices else None


def _check_is_video(is_video: Any, count: int) -> list[bool | None]:
    """Which of `count` samples are videos, None for each where nobody says; `ValueError` for anything else."""
    if is_video is None:
        return [None] * count
    answers = torch.as_tensor(is_video)
    if answers.dtype != torch.bool or answers.shape != (count,):
        raise ValueError(
            f"is_video must be bool ({count},), one for each sample, got {answers.dtype} {tuple(answers.shape)}. "
            "The processor's output has it."
        )
    return answers.tolist()


class _NoTokenizer:
    """Stands where the base class expects a tokenizer to save, and saves nothing."""

    _auto_class = None

    def _set_processor_class(self, processor_class: str) -> None:
        pass

    def save_pretrained(self, save_directory: str | os.PathLike) -> None:
        pass


bind_to_package(__name__)
