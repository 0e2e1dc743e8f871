"""Videos to patches of their frames: an even choice of frames, each about as large as the tables' (paper, 5.1)."""

import os
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import PILImageResampling
from transformers.processing_utils import Unpack, VideosKwargs
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoInput, VideoMetadata, load_video, make_batched_metadata, make_batched_videos

from .image_processing_llava_atoken import patch_grid
from .patching_llava_atoken import check_multiple, check_values, packed_patches
from .remote_code_atoken import auto_class_of, bind_to_package

# A quotient of two frame rates, such as 24, 23.976 and 24000/1001, is one of whole numbers; floats only come near it.
_LARGEST_DENOMINATOR = 10**6


class AtokenLlavaVideoProcessorKwargs(VideosKwargs, total=False):
    r"""
    patch_size (`int`, *optional*, defaults to 16):
        Rows and columns of a patch.
    size_multiple (`int`, *optional*, defaults to 32):
        What both sides are rounded down to multiples of.
    max_frames (`int`, *optional*, defaults to 128):
        Frames, at most, that are taken of a video.
    """

    patch_size: int | None
    size_multiple: int | None
    max_frames: int | None


class AtokenLlavaVideoProcessor(BaseVideoProcessor):
    """
    Turns videos into patches of single frames.

    At most `max_frames` frames are taken, from the middles of equal parts of the video; with `fps`, of the frames at
    that rate. A call that asks for `num_frames` or `fps` does so in place of either of the processor's own. Frames are
    resized as the image processor resizes images, to an area within `size`. Files are read with PyAV.
    """

    _auto_class = auto_class_of(__name__, "AutoVideoProcessor")
    valid_kwargs = AtokenLlavaVideoProcessorKwargs
    model_input_names = ["pixel_values_videos", "video_grid_thw"]
    do_resize = True
    size = {"min_pixels": 288**2, "max_pixels": 480**2}
    resample = PILImageResampling.BICUBIC
    do_convert_rgb = True
    do_rescale = True
    do_normalize = True
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    do_sample_frames = True
    patch_size = 16
    size_multiple = 32
    max_frames = 128

    def __init__(self, **kwargs: Unpack[AtokenLlavaVideoProcessorKwargs]):
        super().__init__(**kwargs)
        check_multiple(self.patch_size, self.size_multiple)
        _check_max_frames(self.max_frames)

    def preprocess(self, videos: VideoInput, **kwargs: Unpack[AtokenLlavaVideoProcessorKwargs]) -> BatchFeature:
        """Makes patches of one video or of a list; see `AtokenLlavaVideoProcessorKwargs` and the class."""
        if kwargs.get("num_frames") is not None:
            kwargs.setdefault("fps", None)
        elif kwargs.get("fps") is not None:
            kwargs.setdefault("num_frames", None)
        return super().preprocess(videos, **kwargs)

    def sample_frames(
        self,
        metadata: VideoMetadata,
        num_frames: int | None = None,
        fps: int | float | None = None,
        max_frames: int | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """
        Chooses frames: of n candidates the T = min(max_frames, n) at floor((i + 1/2) n / T).

        Args:
            metadata: of the whole video.
            num_frames: how many of all frames, in place of `max_frames`; no more than there are.
            fps: frames of each second that are candidates, those on screen at 0, 1 / fps, 2 / fps, ... seconds; all
                frames when not given. Without either, the processor's own.
            max_frames: how many, at least 1 and at most so many; by default the processor's own.

        Returns:
            Growing indices, each once.

        Raises:
            ValueError: if the video has no frames or fewer than `num_frames`, its rate is unknown or below `fps`, both
                `num_frames` and `fps` are given, or `max_frames` is below 1.
        """
        total = int(metadata.total_num_frames)
        max_frames = self.max_frames if max_frames is None else max_frames
        _check_max_frames(max_frames)
        if num_frames is None and fps is None:
            num_frames, fps = self.num_frames, self.fps
        if num_frames is not None and fps is not None:
            raise ValueError(f"num_frames must be None with fps, got {num_frames} and fps={fps}. Give one of the two.")
        if total < 1:
            raise ValueError(f"videos must have at least 1 frame, got {total}")
        if num_frames is not None and not 1 <= num_frames <= total:
            raise ValueError(f"num_frames must be from 1 to the video's {total} frames, got {num_frames}")
        step = Fraction(1)
        if fps is not None:
            if metadata.fps is None or not 0 < fps <= metadata.fps:
                raise ValueError(
                    f"fps must be above 0 and at most that of the video, got {fps} for a video of "
                    f"{metadata.fps or 'unknown'} frames per second"
                )
            step = Fraction(metadata.fps / fps).limit_denominator(_LARGEST_DENOMINATOR)
        candidates = -(-total // step)  # those whose frame, floor(step * candidate), is one of the video's
        count = min(max_frames if num_frames is None else num_frames, candidates)
        middles = ((2 * part + 1) * candidates // (2 * count) for part in range(count))
        return np.array([int(step * candidate) for candidate in middles])

    def fetch_videos(
        self, video_url_or_urls: Any, sample_indices_fn: Callable[[VideoMetadata], Sequence[int]] | None = None
    ) -> Any:
        """Reads a video file: frames (T, H, W, 3) uint8 and metadata; for a list, two lists of them."""
        if isinstance(video_url_or_urls, (list, tuple)):
            return list(zip(*[self.fetch_videos(path, sample_indices_fn) for path in video_url_or_urls], strict=True))
        path = os.fspath(video_url_or_urls)
        if "://" not in path and not os.path.isfile(path):
            raise FileNotFoundError(f"videos: there is no file {path!r}. Relative paths start at {os.getcwd()}.")
        if "://" not in path:
            _refuse_playlist(path)

        def chosen(metadata: VideoMetadata, **kwargs: Any) -> Sequence[int]:
            if not metadata.total_num_frames:  # Matroska and WebM do not announce it
                metadata.total_num_frames = counted_frames(path)
                metadata.duration = metadata.total_num_frames / metadata.fps if metadata.fps else 0.0
            if sample_indices_fn is None:
                return np.arange(metadata.total_num_frames)
            return sample_indices_fn(metadata=metadata, **kwargs)

        try:
            return load_video(path, backend="pyav", sample_indices_fn=chosen)
        except ImportError as error:
            raise ImportError('Video files are read with PyAV: pip install "atoken[video]".') from error

    def convert_to_rgb(self, video: torch.Tensor) -> torch.Tensor:
        """Makes (T, C, H, W) RGB: gray is repeated, transparency composited on white, in the type of the values."""
        if video.shape[-3] != 4:
            return super().convert_to_rgb(video)
        white = 1.0 if video.is_floating_point() else 255.0
        color, alpha = video[..., :3, :, :].float(), video[..., 3:, :, :].float() / white
        blended = color * alpha + white * (1 - alpha)
        return blended.to(video.dtype) if video.is_floating_point() else blended.round().to(video.dtype)

    def num_sampled_frames(self, frames: int, **options: Any) -> int:
        """Counts the frames that are taken of a video of `frames` frames, with options of a call."""
        if options.get("do_sample_frames", self.do_sample_frames) is False:
            return frames
        names = ("num_frames", "fps", "max_frames")
        chosen = {name: options.get(name) for name in names}
        return len(self.sample_frames(VideoMetadata(total_num_frames=frames, fps=options.get("video_fps")), **chosen))

    def patch_grid(self, height: int, width: int, **options: Any) -> tuple[int, int]:
        """Gives patch rows and columns of frames of a size, with options of a call."""
        return patch_grid(self, height, width, options)

    def _decode_and_sample_videos(
        self, videos: Any, video_metadata: Any, do_sample_frames: bool | None = None, sample_indices_fn: Any = None
    ) -> tuple[list[Any], list[VideoMetadata]]:
        if isinstance(videos, os.PathLike):
            videos = os.fspath(videos)
        elif isinstance(videos, (list, tuple)):
            videos = [os.fspath(video) if isinstance(video, os.PathLike) else video for video in videos]
        videos = make_batched_videos(videos)
        described = make_batched_metadata(videos, video_metadata=video_metadata)
        decoded = []
        for index, video in enumerate(videos):
            if isinstance(video, str):
                frames, described[index] = self.fetch_videos(video, sample_indices_fn)
            elif isinstance(video, list):  # paths of pictures
                frames = torch.stack([self.process_image(image) for image in self.fetch_images(video)]) / 255
                described[index] = VideoMetadata(total_num_frames=len(frames))
            else:
                frames = video
            if len(frames) == 0:
                raise ValueError(f"videos must have at least 1 frame, got none in video {index}")
            if do_sample_frames and not isinstance(video, str):
                described[index].frames_indices = sample_indices_fn(metadata=described[index])
                frames = frames[described[index].frames_indices]
            decoded.append(frames)
        return decoded, described

    def _preprocess(
        self,
        videos: list[torch.Tensor],
        do_rescale: bool | None,
        return_tensors: str | None = None,
        **options: Any,
    ) -> BatchFeature:
        frames = [check_values(video, "videos", do_rescale) for video in videos]
        patches, grids = packed_patches(self, frames, do_rescale=do_rescale, **options)
        return BatchFeature({"pixel_values_videos": patches, "video_grid_thw": grids}, tensor_type=return_tensors)


def counted_frames(path: str) -> int:
    """Counts the frames of a video file by its packets, without decoding any."""
    import av

    with av.open(path) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def _check_max_frames(max_frames: int) -> None:
    if max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, got {max_frames}. Leave it out for the default.")


def _refuse_playlist(path: str) -> None:
    """Raises a ValueError for lists of other files and addresses, which FFmpeg would open; no video is text."""
    with open(path, "rb") as file:
        head = file.read(64)
    if head.startswith((b"#EXTM3U", b"ffconcat", b"v=0")) or head.lstrip().startswith(b"<"):
        raise ValueError(
            f"videos must be video files, got {path!r}, a playlist, which names other files. Pass the video itself."
        )


bind_to_package(__name__)

__all__ = ["AtokenLlavaVideoProcessor"]
