"""Videos of any size and length to packed tokens, and back."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.processing_utils import Unpack, VideosKwargs
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoInput, VideoMetadata, default_sample_indices_fn

from .frame_times_atoken import TimedVideoMetadata, sample_times
from .image_processing_atoken import image_array, output_statistics, resize_media
from .media_reading_atoken import check_file, read_video
from .media_values_atoken import (
    as_media_tensor,
    channels_first,
    channels_to_rgb,
    normalize_values,
    on_device,
    to_unit_values,
    value_range,
)
from .packing_atoken import (
    MODEL_INPUT_NAMES,
    check_output_type,
    check_return_tensors,
    media_to_output,
    pack_media,
    unpack_media,
    with_masks,
)
from .pil_decoding_atoken import check_still_image, pil_to_rgb
from .processor_options_atoken import check_call_options, check_resolved_options
from .remote_code_atoken import auto_class_of, bind_to_package
from .resizing_atoken import check_resize_request

_EXPECTED = "an array or tensor (T, H, W, C) or (T, C, H, W), a list of frames of one size, a path, or a list of these"
_ROUNDING = 1e-6  # frames, by which a product of numbers of floating point may miss a whole one
_FRAME_KINDS = ("a PIL image", "an array of one frame")


class AtokenVideoProcessorKwargs(VideosKwargs, total=False):
    r"""
    patch_size (`list[int]`, *optional*, defaults to `[4, 16, 16]`):
        Frames, rows and columns of one patch.
    min_pixels (`int`, *optional*):
        Frames with fewer pixels are enlarged to at least this many, keeping their aspect ratio.
    max_pixels (`int`, *optional*):
        Frames with more pixels are reduced to at most this many, keeping their aspect ratio.
    """

    patch_size: list[int] | tuple[int, ...] | None
    min_pixels: int | None
    max_pixels: int | None


class AtokenVideoProcessor(BaseVideoProcessor):
    """
    Turns videos into tokens at their native resolution, with every frame.

    Frames are sampled only if `num_frames` or `fps` is given, and resized only if `size`, `min_pixels` or `max_pixels`
    is. Nothing is cropped: sides are padded at the bottom and right to whole patches by repeating the edge, and time is
    padded at the end with mid-gray; `media_sizes` keeps the true size for the way back. Values follow the same rules as
    in `AtokenImageProcessor`. Files are read with PyAV.
    """

    _auto_class = auto_class_of(__name__, "AutoVideoProcessor")
    valid_kwargs = AtokenVideoProcessorKwargs
    resample = PILImageResampling.BICUBIC
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    do_convert_rgb = True
    do_rescale = True
    do_normalize = True
    patch_size = [4, 16, 16]
    model_input_names = list(MODEL_INPUT_NAMES)

    def __init__(self, **kwargs: Unpack[AtokenVideoProcessorKwargs]):
        super().__init__(**kwargs)

    def preprocess(self, videos: VideoInput, **kwargs: Unpack[AtokenVideoProcessorKwargs]) -> BatchFeature:
        """Make tokens of videos.

        Args:
            videos: one video or a list. A video is an array or tensor (T, H, W, C) or (T, C, H, W) with 1, 3 or 4
                channels, a list of PIL images or of arrays, all of one size, or the path of a video file, animated GIF,
                WebP, PNG or AVIF. A five-dimensional array is a batch.
            kwargs: see `AtokenVideoProcessorKwargs`; an option left out takes the processor's own value.
                `return_metadata=True` adds `video_metadata`, one `TimedVideoMetadata` per video, whose `timestamps`
                are true also where frames are not even. For arrays, `video_metadata` may be given to state their `fps`
                or their `frame_times`.

        Returns:
            `BatchFeature` with `pixel_values` (N, 3072) float32, `coords` (N, 4) int64 [t, x, y, z], `cu_seqlens`
            (B + 1,) int32, `media_sizes` (B, 3) int64 = (T, H, W), the size after requested sampling and resizing,
            `pixel_mask` (N, 1024) bool, False for padding, and `is_video` (B,) bool, all True.

        Raises:
            FileNotFoundError: a path does not exist.
            ValueError: anything else about `videos` or an option; the message names it and says what is expected.
            ImportError: a file is given and PyAV is not installed.
        """
        if isinstance(kwargs.get("video_metadata"), (list, tuple)) and not kwargs["video_metadata"]:
            raise ValueError("video_metadata must have one entry per video, got an empty list.")
        check_call_options(self.valid_kwargs, kwargs)
        options = {name: kwargs.get(name, getattr(self, name, None)) for name in self.valid_kwargs.__annotations__}
        options["num_frames"], options["fps"] = self._sampling_request(kwargs, options["do_sample_frames"])
        options = self._standardize_kwargs(**options)
        self._validate_preprocess_kwargs(**options)

        items, names = list_videos(videos)
        check_video_list(items, names, options["input_data_format"])
        given_metadata = _list_metadata(options.pop("video_metadata"), len(items))
        select = None
        if options["num_frames"] is not None or options["fps"] is not None:
            select = partial(self.sample_frames, num_frames=options["num_frames"], fps=options["fps"])

        prepared, metadata = [], []
        for item, name, given in zip(items, names, given_metadata, strict=True):
            frames, described = _load(item, name, given, options["input_data_format"], select)
            prepared.append(self._prepare_frames(frames, name, options))
            metadata.append(described)
        batch = self._preprocess(videos=prepared, **options)
        if options["return_metadata"]:
            batch["video_metadata"] = metadata
        return batch

    def sample_frames(
        self,
        metadata: VideoMetadata,
        num_frames: int | None = None,
        fps: int | float | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Chooses indices of frames spread evenly over a video.

        Args:
            metadata: `total_num_frames`, and `fps` or `frame_times` if a rate is asked for.
            num_frames: how many frames, spread over all frames whatever their times; by default the processor's own.
            fps: how many frames of each second; by default the processor's own. Of a video whose frames are not even
                (it has `frame_times`), those that are on screen at 0, 1 / fps, 2 / fps, ... seconds up to the last
                frame's appearance: a frame that stays for longer is repeated.

        Returns:
            Growing indices, all of them if neither is given.

        Raises:
            ValueError: both are given, more frames are asked for than there are, or the frame rate is unknown.
        """
        if num_frames is None and fps is None:
            num_frames, fps = self.num_frames, self.fps
        if num_frames is not None and fps is not None:
            raise ValueError(f"num_frames must be one of the two, got {num_frames} together with fps={fps}.")
        frame_times = getattr(metadata, "frame_times", None)
        if fps is not None and frame_times is not None:
            return sample_times(frame_times, fps)
        if fps is not None and metadata.fps is None:
            raise ValueError(
                f"fps must be asked of videos of a known frame rate, got {fps} for a video of unknown frame rate. "
                "Pass video_metadata with its fps, or num_frames."
            )
        if fps is not None and fps > metadata.fps:
            raise ValueError(
                f"fps must be at most that of the video, got {fps} for a video of {metadata.fps:g} frames per second."
            )
        if num_frames is not None and num_frames > metadata.total_num_frames:
            raise ValueError(
                f"num_frames must be at most those of the video, got {num_frames} for a video of "
                f"{metadata.total_num_frames} frames."
            )
        if fps is not None:
            # Rounding must not cost a frame: 29 / 25 * 25 is a little less than 29.
            num_frames = max(1, int(metadata.total_num_frames * fps / metadata.fps + _ROUNDING))
        return default_sample_indices_fn(metadata, num_frames=num_frames)

    def fetch_videos(
        self, video_url_or_urls: Any, sample_indices_fn: Callable[[VideoMetadata], Sequence[int]] | None = None
    ) -> Any:
        """Read a video file: frames (T, H, W, 3) uint8 and `TimedVideoMetadata`; for a list, two lists of them."""
        if isinstance(video_url_or_urls, (list, tuple)):
            return list(zip(*[self.fetch_videos(path, sample_indices_fn) for path in video_url_or_urls], strict=True))
        return read_video(video_url_or_urls, sample_indices_fn, "videos")

    def post_process(
        self,
        pixel_values: torch.Tensor,
        coords: torch.Tensor,
        cu_seqlens: torch.Tensor,
        media_sizes: torch.Tensor,
        output_type: str = "pt",
        is_video: torch.Tensor | None = None,
        pixel_mask: torch.Tensor | None = None,
    ) -> list[torch.Tensor] | list[np.ndarray] | list[list[Image.Image]]:
        """Turn tokens, such as a decoder returns, back into videos of exactly their true size and length.

        Args:
            pixel_values: (N, 3072), any floating point dtype.
            coords: (N, 4) integer.
            cu_seqlens: (B + 1,) integer.
            media_sizes: (B, 3) integer.
            output_type: "pt", "np" or "pil".
            is_video, pixel_mask: have no effect; they are taken so that all that a call gives can be passed on.

        Returns:
            One video per sample. "pt": float32 (T, 3, H, W) in [0, 1], clamped; "np": uint8 (T, H, W, 3); "pil": a list
            of T PIL images.

        Raises:
            ValueError: the arguments do not fit together.
        """
        check_output_type(output_type)
        media = unpack_media(pixel_values, coords, cu_seqlens, media_sizes, self.patch_size)
        return [media_to_output(sample, output_type, *output_statistics(self)) for sample in media]

    def _sampling_request(
        self, given: dict[str, Any], do_sample_frames: bool | None
    ) -> tuple[int | None, int | float | None]:
        """`num_frames` and `fps` to sample by, both None to keep every frame. The call goes before the processor."""
        if given.get("num_frames") is not None or given.get("fps") is not None:
            num_frames, fps = given.get("num_frames"), given.get("fps")
        else:
            num_frames, fps = (None if name in given else getattr(self, name, None) for name in ("num_frames", "fps"))
        for name, value in (("num_frames", num_frames), ("fps", fps)):
            if value is not None and (isinstance(value, bool) or not 0 < value < float("inf")):
                raise ValueError(f"{name} must be a positive number, or None to keep every frame, got {value!r}.")
        if num_frames is not None and fps is not None:
            raise ValueError(f"num_frames must be one of the two, got {num_frames} together with fps={fps}.")
        if do_sample_frames and num_frames is None and fps is None:
            raise ValueError(
                "do_sample_frames must have a target, got True without a target. Pass num_frames or fps as well."
            )
        return (None, None) if do_sample_frames is False else (num_frames, fps)

    def _validate_preprocess_kwargs(self, **kwargs: Any) -> None:
        check_resolved_options(**kwargs)

    def _prepare_frames(self, frames: torch.Tensor, name: str, options: dict[str, Any]) -> torch.Tensor:
        """(T, C, H, W) of any accepted dtype to (T, 3, H, W) float32 in the range its values are known to lie in."""
        frames = on_device(frames, options["device"])
        rules = options["do_rescale"], options["rescale_factor"], options["do_normalize"]
        return channels_to_rgb(to_unit_values(frames, name, *rules), name, signed=value_range(*rules) == (-1, 1))

    def _preprocess(
        self,
        videos: list[torch.Tensor],
        do_resize: bool | None,
        size: SizeDict | None,
        resample: Any,
        do_rescale: bool | None,
        rescale_factor: float,
        do_normalize: bool | None,
        image_mean: float | Sequence[float] | None,
        image_std: float | Sequence[float] | None,
        patch_size: Sequence[int],
        min_pixels: int | None,
        max_pixels: int | None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        request = check_resize_request(do_resize, size, min_pixels, max_pixels, patch_size[1:])
        limits = value_range(do_rescale, rescale_factor, do_normalize)
        media = []
        for video in videos:
            video = resize_media(self, video, request, resample, limits, patch_size)
            media.append(normalize_values(video, image_mean, image_std) if do_normalize else video)
        packed = with_masks(pack_media(media, patch_size), True, patch_size)
        return BatchFeature(packed, tensor_type=check_return_tensors(return_tensors))


def list_videos(videos: Any) -> tuple[list[Any], list[str]]:
    """Lists the videos of an argument, each an array, a list of frames or a path, and what to call them in errors."""
    if isinstance(videos, (str, os.PathLike)):
        return [videos], ["videos"]
    if isinstance(videos, (np.ndarray, torch.Tensor)):
        if videos.ndim == 5 and len(videos):
            return list(videos), [f"videos[{index}]" for index in range(len(videos))]
        return [videos], ["videos"]
    if isinstance(videos, Image.Image):
        raise ValueError("videos must be a list of frames, got one PIL image. Pass still images as images=.")
    if not isinstance(videos, (list, tuple)):
        raise ValueError(f"videos must be {_EXPECTED}, got {type(videos).__name__}.")
    if not videos:
        raise ValueError(f"videos must be {_EXPECTED}, got an empty list.")
    kinds = [_kind(video, f"videos[{index}]") for index, video in enumerate(videos)]
    for index, kind in enumerate(kinds):
        if (kind in _FRAME_KINDS) != (kinds[0] in _FRAME_KINDS):
            raise ValueError(
                f"videos[{index}] must be either the frames of one video or a list of videos, got {kind} in a list "
                f"that starts with {kinds[0]}."
            )
    if kinds[0] in _FRAME_KINDS:
        return [list(videos)], ["videos"]
    return list(videos), [f"videos[{index}]" for index in range(len(videos))]


def check_video_list(videos: Sequence[Any], names: Sequence[str], input_data_format: str | None = None) -> None:
    """Look at every video, without decoding one, and raise the first `ValueError` or `FileNotFoundError`."""
    for video, name in zip(videos, names, strict=True):
        if isinstance(video, (str, os.PathLike)):
            check_file(video, name)
        elif isinstance(video, (list, tuple)):
            _check_frames(video, name, input_data_format)
        else:
            _video_array(video, name, input_data_format)


def _kind(item: Any, name: str) -> str:
    if isinstance(item, Image.Image):
        return "a PIL image"
    if isinstance(item, (str, os.PathLike)):
        return "a path"
    if isinstance(item, (list, tuple)):
        return "a list of frames"
    if isinstance(item, (np.ndarray, torch.Tensor)):
        return "an array of one frame" if item.ndim in (2, 3) else "an array of several frames"
    raise ValueError(f"{name} must be {_EXPECTED}, got {type(item).__name__}.")


def _check_frames(frames: Sequence[Any], name: str, input_data_format: str | None) -> None:
    if not frames:
        raise ValueError(f"{name} must be at least one frame, got an empty list.")
    kinds = [_kind(frame, f"{name}[{index}]") for index, frame in enumerate(frames)]
    for index, kind in enumerate(kinds):
        if kind not in _FRAME_KINDS or kind != kinds[0]:
            raise ValueError(
                f"{name}[{index}] must be the frames of one video, either all PIL images or all arrays (H, W, C) or "
                f"(C, H, W), got {kind}."
            )
    sizes = []
    for index, frame in enumerate(frames):
        label = f"{name}[{index}]"
        if isinstance(frame, Image.Image):
            check_still_image(frame, label)
            sizes.append((frame.height, frame.width))
        else:
            pixels = image_array(frame, label, input_data_format)
            sizes.append((*pixels.shape[1:], pixels.shape[0], pixels.dtype))
        if sizes[index] != sizes[0]:
            raise ValueError(
                f"{label} must have frames that are alike, got a frame of {_describe(sizes[index])}, but "
                f"frame 0 has {_describe(sizes[0])}. Resize or convert them first."
            )


def _describe(size: tuple[Any, ...]) -> str:
    text = f"{size[0]}x{size[1]} pixels"
    return text if len(size) == 2 else f"{text}, {size[2]} channels, {size[3]}"


def _video_array(video: Any, name: str, input_data_format: str | None) -> torch.Tensor:
    """An array (T, H, W, C) or (T, C, H, W) as (T, C, H, W)."""
    frames = as_media_tensor(video, name)
    if frames.ndim != 4:
        raise ValueError(
            f"{name} must be (T, H, W, C) or (T, C, H, W), got shape {tuple(frames.shape)}. Pass one frame as "
            "images=, several videos as a list."
        )
    return channels_first(frames, name, input_data_format)


def _list_metadata(video_metadata: Any, count: int) -> list[VideoMetadata | dict[str, Any] | None]:
    if video_metadata is None:
        return [None] * count
    entries = list(video_metadata) if isinstance(video_metadata, (list, tuple)) else [video_metadata]
    if all(isinstance(entry, (list, tuple)) for entry in entries):
        entries = [inner for entry in entries for inner in entry]
    if len(entries) != count:
        raise ValueError(f"video_metadata must be one per video, got {len(entries)} entries for {count} videos.")
    known = [field.name for field in fields(TimedVideoMetadata)]
    for index, entry in enumerate(entries):
        if entry is not None and (not isinstance(entry, Mapping) or set(entry) - set(known)):
            given = sorted(map(str, entry)) if isinstance(entry, Mapping) else type(entry).__name__
            raise ValueError(
                f"video_metadata[{index}] must be a VideoMetadata or a dictionary of {', '.join(known)}, got {given}."
            )
    return entries


def _load(
    video: Any,
    name: str,
    given: VideoMetadata | dict[str, Any] | None,
    input_data_format: str | None,
    select: Callable[[VideoMetadata], Sequence[int]] | None,
) -> tuple[torch.Tensor, VideoMetadata]:
    """Frames (T, C, H, W) in their own dtype and their metadata, after sampling."""
    if isinstance(video, (str, os.PathLike)):
        if given is not None:
            raise ValueError(f"video_metadata must be None, got an entry for {name}, a file that states its own.")
        frames, metadata = read_video(video, select, name)
        return frames.permute(0, 3, 1, 2), metadata
    if isinstance(video, (list, tuple)):
        labels = [f"{name}[{index}]" for index in range(len(video))]
        frames = [_frame(frame, label, input_data_format) for frame, label in zip(video, labels, strict=True)]
        for frame, label in zip(frames, labels, strict=True):
            # An EXIF rotation or a 16-bit file only shows once a PIL image is decoded.
            if frame.shape != frames[0].shape or frame.dtype != frames[0].dtype:
                raise ValueError(
                    f"{label} must have frames that are alike, got a frame of {tuple(frame.shape)} "
                    f"{frame.dtype}, but frame 0 is {tuple(frames[0].shape)} {frames[0].dtype}."
                )
        frames = torch.stack(frames)
    else:
        frames = _video_array(video, name, input_data_format)

    total = len(frames)
    stated = {} if given is None else {"frame_times": getattr(given, "frame_times", None), **given}
    metadata = TimedVideoMetadata(**{"total_num_frames": total, **stated})
    if metadata.total_num_frames != total:
        raise ValueError(
            f"video_metadata must have total_num_frames={total} for {name}, got "
            f"total_num_frames={metadata.total_num_frames}."
        )
    metadata.height, metadata.width = frames.shape[-2:]
    if metadata.frame_times is not None:
        _complete_times(metadata, name)
    if metadata.duration is None and metadata.fps:
        metadata.duration = total / metadata.fps
    indices = range(total) if select is None else select(metadata)
    metadata.frames_indices = [int(index) for index in indices]
    return (frames if select is None else frames[metadata.frames_indices]), metadata


def _complete_times(metadata: TimedVideoMetadata, name: str) -> None:
    """Checks the times that were given for the frames of an array, and fills in their mean rate."""
    times = np.asarray(metadata.frame_times, dtype=np.float64)
    if times.shape != (metadata.total_num_frames,) or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError(
            f"video_metadata must have frame_times of growing seconds, one for each of the "
            f"{metadata.total_num_frames} frames of {name}, got {metadata.frame_times}."
        )
    metadata.frame_times = (times - times[0]).tolist()
    if metadata.fps is None and times[-1] > times[0]:
        metadata.fps = (len(times) - 1) / float(times[-1] - times[0])


def _frame(frame: Any, name: str, input_data_format: str | None) -> torch.Tensor:
    return pil_to_rgb(frame, name) if isinstance(frame, Image.Image) else image_array(frame, name, input_data_format)


bind_to_package(__name__)
