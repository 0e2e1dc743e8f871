"""Small media and files for the tests of this folder."""

import math
import struct
import zlib
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast


def photo(height: int = 70, width: int = 90, seed: int = 0) -> np.ndarray:
    """Noise (H, W, 3) uint8 that includes 0 and 255 if large enough: any slip shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def clip(frames: int = 17, height: int = 34, width: int = 50, seed: int = 1) -> np.ndarray:
    """Noise (T, H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def smooth_clip(frames: int = 12, height: int = 32, width: int = 48) -> np.ndarray:
    """Flat blocks that differ from frame to frame (T, H, W, 3) uint8, which a lossy codec keeps almost exactly."""
    blocks = np.random.default_rng(2).integers(0, 256, (frames, -(-height // 8), -(-width // 8), 3))
    return blocks.repeat(8, 1).repeat(8, 2)[:, :height, :width].astype(np.uint8)


def png16(pixels: np.ndarray, orientation: int | None = None, transparent: tuple[int, ...] = ()) -> bytes:
    """Encode (H, W, 1 to 4) uint16 as a 16-bit PNG, which Pillow cannot write in color."""
    height, width, channels = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    color_type = {1: 0, 3: 2, 2: 4, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    exif = b"" if orientation is None else chunk(b"eXIf", exif_bytes(orientation))
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    extra = exif + (chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b"")
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def exif_bytes(orientation: int) -> bytes:
    """A TIFF block with the one EXIF tag Orientation."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def write_rotated_mp4(path: Path, frames: np.ndarray, degrees: int) -> None:
    """An MP4 whose header asks players to turn it counter-clockwise."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
        stream.options = {"crf": "0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    cosine, sine = (round(65536 * function(math.radians(degrees))) for function in (math.cos, math.sin))
    set_matrix(path, cosine, -sine, sine, cosine)


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Writes a display matrix into the track header of an MP4, in units of 1 / 65536."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def tiny_tokenizer(with_bos: bool = False) -> PreTrainedTokenizerFast:
    """Knows "a", "photo", "of", "dog" and "cat"; ends each text with <eos>, and begins it with <bos> on request."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "photo", "of", "dog", "cat"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>" if with_bos else "$A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )
