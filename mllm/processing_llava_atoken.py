"""Messages with images and videos to what the model takes, and its answer back to text."""

import os
from typing import Any

import torch
from transformers.image_processing_utils import BatchFeature
from transformers.processing_utils import MultiModalData, ProcessorMixin

from .chat_template_llava_atoken import CHAT_TEMPLATE
from .image_processing_llava_atoken import AtokenLlavaImageProcessor
from .remote_code_atoken import auto_class_of, bind_to_package
from .special_tokens_llava_atoken import IMAGE_TOKEN, VIDEO_TOKEN, add_media_tokens
from .token_counts_llava_atoken import MediaTokenCounts
from .video_processing_llava_atoken import AtokenLlavaVideoProcessor


class AtokenLlavaProcessor(ProcessorMixin):
    r"""
    Makes the inputs of [`AtokenLlavaForConditionalGeneration`].

    Each `<|image_pad|>` and `<|video_pad|>` of a text becomes as many as the medium in its place has tokens, so that
    what arranges them has to be as in the model's configuration; `from_config` sees to it.

    Args:
        image_processor (`AtokenLlavaImageProcessor`): by default a new one.
        tokenizer (`PreTrainedTokenizerBase`): gets the special tokens that it lacks.
        video_processor (`AtokenLlavaVideoProcessor`): by default a new one.
        chat_template (`str`, *optional*): Jinja template; by default ChatML of Qwen2.5.
        image_pool_stride, slow_frames, slow_stride, fast_grid: as in [`AtokenLlavaConfig`].
        frames_per_token (`int`): Frames of one token: 1 for `video_input="frames"`, those of the encoder's patch for
            "clip".
        add_time_instruction (`bool`): Whether to state, before a video's tokens, how long it is and when its frames
            were taken.
    """

    _auto_class = auto_class_of(__name__, "AutoProcessor")
    videos_kwargs = {"return_metadata": True}

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        video_processor: Any = None,
        chat_template: str | None = None,
        image_pool_stride: int = 1,
        slow_frames: int = 32,
        slow_stride: int = 2,
        fast_grid: tuple[int, int] | list[int] = (4, 4),
        frames_per_token: int = 1,
        add_time_instruction: bool = False,
    ):
        if tokenizer is None:
            raise ValueError("tokenizer must be a text tokenizer of transformers, got None")
        add_media_tokens(tokenizer)
        self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, VIDEO_TOKEN])
        self.image_pool_stride, self.slow_frames, self.slow_stride = image_pool_stride, slow_frames, slow_stride
        self.fast_grid, self.frames_per_token = list(fast_grid), frames_per_token
        self.add_time_instruction = add_time_instruction
        super().__init__(
            image_processor or AtokenLlavaImageProcessor(),
            tokenizer,
            video_processor or AtokenLlavaVideoProcessor(),
            chat_template=chat_template or CHAT_TEMPLATE,
        )

    @classmethod
    def from_config(cls, config: Any, tokenizer: Any, **options: Any) -> "AtokenLlavaProcessor":
        """
        Makes the processor of a model.

        Args:
            config: [`AtokenLlavaConfig`].
            tokenizer: the language model's text tokenizer.
            options: further arguments, such as processors of images and videos.

        Raises:
            ValueError: if the tokenizer's placeholders are not those of the configuration.
        """
        counts = config.token_counts
        processor = cls(
            tokenizer=tokenizer,
            image_pool_stride=counts.image_pool_stride,
            slow_frames=counts.slow_frames,
            slow_stride=counts.slow_stride,
            fast_grid=counts.fast_grid,
            frames_per_token=counts.frames_per_token,
            **options,
        )
        ids = processor.image_token_id, processor.video_token_id
        if ids != (config.image_token_id, config.video_token_id):
            raise ValueError(
                f"tokenizer must have the placeholders' ids of config, {config.image_token_id} and "
                f"{config.video_token_id}, got {ids[0]} and {ids[1]}"
            )
        return processor

    @property
    def token_counts(self) -> MediaTokenCounts:
        """Gives the count of a medium's tokens."""
        grid = (self.fast_grid[0], self.fast_grid[1])
        return MediaTokenCounts(self.image_pool_stride, self.slow_frames, self.slow_stride, grid, self.frames_per_token)

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> BatchFeature:
        """
        Makes the inputs of the model.

        Args:
            images: one image, a list, or a list of lists, in the order of the placeholders.
            text: a string or a list of strings with one placeholder for each medium.
            videos: one video or a list, in the order of the placeholders.
            kwargs: options of the image processor, the video processor and the tokenizer.

        Returns:
            `BatchFeature` with `input_ids` and `attention_mask` (B, L) of texts, `pixel_values` and `image_grid_thw` of
            images, `pixel_values_videos` and `video_grid_thw` of videos.

        Raises:
            ValueError: if media and placeholders do not match, a text is longer than the context of the language model,
                or a medium or an option does not fit.
        """
        images, videos = _none_for_empty(_with_text_paths(images)), _none_for_empty(_with_text_paths(videos))
        if "padding_side" not in kwargs.get("text_kwargs", {}):
            kwargs.setdefault("padding_side", "left")  # whatever the tokenizer does, as answers follow at the end
        if kwargs.pop("audio", None) is not None:
            raise ValueError("audio must be None, as the model takes images, videos and text. Leave it out.")
        if text is None and (images is not None or videos is not None):
            raise ValueError("text must be given with images and videos, got None. Use the image processor alone.")
        inputs = super().__call__(images=images, text=text, videos=videos, **kwargs)
        self._check_context(inputs.get("input_ids"))
        return inputs

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs: Any) -> str:
        """Gives the placeholders of an image."""
        _, rows, columns = _grid(image_inputs, "image_grid_thw", image_idx)
        return self.image_token * self.token_counts.image(rows, columns)

    def replace_video_token(self, video_inputs: dict, video_idx: int, **kwargs: Any) -> str:
        """Gives the placeholders of a video, after its times if they are to be stated."""
        frames, rows, columns = _grid(video_inputs, "video_grid_thw", video_idx)
        placeholders = self.video_token * self.token_counts.video(frames, rows, columns)
        if not self.add_time_instruction:
            return placeholders
        metadata = video_inputs["video_metadata"][video_idx]
        if not metadata.fps:
            raise ValueError(
                f"video_metadata must state the fps of video {video_idx} with add_time_instruction, got none"
            )
        indices = range(frames) if metadata.frames_indices is None else metadata.frames_indices
        times = ", ".join(f"{index / metadata.fps:.2f}" for index in indices)
        seconds = metadata.total_num_frames / metadata.fps
        return f"A video of {seconds:.2f} seconds, of which {frames} frames are shown, taken at second {times}.\n" + (
            placeholders
        )

    def _get_num_multimodal_tokens(
        self, image_sizes: list | None = None, video_sizes: list | None = None, **kwargs: Any
    ) -> MultiModalData:
        """
        Counts the tokens of media that are not there yet, as servers ask for.

        Args:
            image_sizes: (height, width) of each image.
            video_sizes: (frames, height, width) of each video.
            kwargs: options of a call.
        """
        merged = self._merge_kwargs(**kwargs)
        counts, data = self.token_counts, {}
        if image_sizes is not None:
            options = merged.get("images_kwargs", {})
            grids = [self.image_processor.patch_grid(*size, **options) for size in image_sizes]
            data["num_image_patches"] = [rows * columns for rows, columns in grids]
            data["num_image_tokens"] = [counts.image(*grid) for grid in grids]
        if video_sizes is not None:
            options = merged.get("videos_kwargs", {})
            data["num_video_tokens"] = [
                counts.video(
                    self.video_processor.num_sampled_frames(frames, **options),
                    *self.video_processor.patch_grid(height, width, **options),
                )
                for frames, height, width in video_sizes
            ]
        return MultiModalData(**data)

    def post_process_image_text_to_text(
        self, generated_outputs: torch.Tensor, skip_special_tokens: bool = True, **kwargs: Any
    ) -> list[str]:
        """Gives the texts of generated ids (B, L)."""
        return self.tokenizer.batch_decode(generated_outputs, skip_special_tokens=skip_special_tokens, **kwargs)

    def _check_context(self, input_ids: Any) -> None:
        if input_ids is None:
            return
        longest = max((len(ids) for ids in input_ids), default=0)
        if longest > self.tokenizer.model_max_length:
            raise ValueError(
                f"text must be at most the {self.tokenizer.model_max_length} tokens of the language model's context, "
                f"got {longest}. Give fewer or smaller media, or fewer frames."
            )


def _grid(inputs: dict, name: str, index: int) -> tuple[int, int, int]:
    return tuple(int(side) for side in inputs[name][index])


def _with_text_paths(media: Any) -> Any:
    """Gives paths as strings, as transformers takes them, also in lists."""
    if isinstance(media, (list, tuple)):
        return [_with_text_paths(each) for each in media]
    return os.fspath(media) if isinstance(media, os.PathLike) else media


def _none_for_empty(media: Any) -> Any:
    """Gives None for an empty list and for a list of empty lists."""
    is_list = isinstance(media, (list, tuple))
    return None if is_list and all(isinstance(each, (list, tuple)) and not each for each in media) else media


bind_to_package(__name__)

__all__ = ["AtokenLlavaProcessor"]
