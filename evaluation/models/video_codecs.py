"""H.264, H.265 and AV1 at a given number of bits per pixel, as a user would store videos instead of tokens."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..interface import Encoded, MediaTokenizer
from .rate_search import largest_within

FPS, BLOCK = 25, 16


@dataclass(frozen=True)
class _Encoder:
    """Holds FFmpeg's name of an encoder, the best and worst of its constant rate factors, and its other options."""

    library: str
    best: int
    worst: int
    options: dict[str, str]


# Files must be the same every time. With more than one thread some encoders write others, and so does the macroblock
# tree of x264 in its AVX code, which seems to read memory that nobody has written.
X265 = "log-level=error:pools=none:frame-threads=1"
CODECS = {
    "h264": _Encoder("libx264", 0, 51, {"preset": "medium", "threads": "1", "x264-params": "asm=SSE4"}),
    "h265": _Encoder("libx265", 0, 51, {"preset": "medium", "x265-params": X265}),
    # To SVT-AV1, 0 means that none is given.
    "av1": _Encoder("libsvtav1", 1, 63, {"preset": "6", "svtav1-params": "lp=1"}),
}


class VideoCodec(MediaTokenizer):
    """
    Stores each clip as an MP4 file of the highest quality (constant rate factor) within a rate; headers count.

    Args:
        codec: one of `CODECS`.
        bits_per_pixel: the rate, over all pixels of all frames. A clip that even the lowest quality does not fit is
            stored at that, and its true rate is what is reported.

    Raises:
        ValueError: no such codec, or no such rate.
        ImportError: PyAV is missing, or was built without the encoder.
    """

    kinds = frozenset({"video"})

    def __init__(self, codec: str, bits_per_pixel: float):
        if codec not in CODECS:
            raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {codec!r}")
        if not bits_per_pixel > 0:
            raise ValueError(f"bits_per_pixel must be a positive number, got {bits_per_pixel!r}")
        try:
            import av
        except ImportError as error:
            raise ImportError('video codecs need PyAV: pip install "atoken[video]"') from error
        self.codec, self.encoder, self.bits_per_pixel = codec, CODECS[codec], bits_per_pixel
        if self.encoder.library not in av.codecs_available:
            raise ImportError(f"this PyAV lacks {self.encoder.library} for {codec}: pip install --upgrade av")
        self.name = f"{codec} at {bits_per_pixel:g} bits/pixel"

    def encode(self, media: torch.Tensor) -> Encoded:
        height, width = media.shape[-2:]
        # Whole macroblocks, as the encoders would pad them themselves, partly from memory that nobody has written.
        padded = F.pad(media.float(), (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate").to(torch.uint8)
        frames = padded.permute(0, 2, 3, 1).contiguous().numpy()
        # As root, SVT-AV1 makes the thread that opens it a real-time one for good, and with it whatever that thread
        # starts later: while these wait for each other, nothing else gets the CPU. So it gets a thread of its own.
        with ThreadPoolExecutor(max_workers=1) as thread:
            data = thread.submit(
                largest_within,
                lambda quality: self._write(frames, self.encoder.worst - quality),
                0,
                self.encoder.worst - self.encoder.best,
                self.bits_per_pixel * len(media) * height * width / 8,
            ).result()
        return Encoded((data, (height, width)), 8 * len(data), (len(data),))

    def _write(self, frames: np.ndarray, rate_factor: int) -> bytes:
        import av

        os.environ.setdefault("SVT_LOG", "1")  # errors only; SVT-AV1 knows no other way
        target = io.BytesIO()
        options = {"crf": str(rate_factor), **self.encoder.options}
        with av.open(target, "w", format="mp4") as container:
            stream = container.add_stream(self.encoder.library, rate=FPS, options=options)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return target.getvalue()

    def decode(self, encoded: Encoded) -> torch.Tensor:
        import av

        data, (height, width) = encoded.payload
        with av.open(io.BytesIO(data)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[:, :, :height, :width].contiguous()

    def describe(self) -> dict[str, Any]:
        import av

        return {
            "class": type(self).__name__,
            "codec": self.codec,
            "encoder": self.encoder.library,
            "bits_per_pixel": self.bits_per_pixel,
            "rule": "highest quality (constant rate factor) whose file is within the rate",
            "pixel_format": "yuv420p",
            "av": av.__version__,
            **self.encoder.options,
        }
