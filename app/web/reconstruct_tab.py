"""The tab that encodes and decodes a file, and shows both side by side."""

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch

from atoken.pages.readable import size_text
from atoken.processing.media_suffixes_atoken import MEDIA_SUFFIXES
from atoken.processing.media_writing_atoken import write_video
from atoken.tokenizing.latent_files import bits_per_token
from atoken.tokenizing.loading import LoadedModel
from atoken.tokenizing.round_trip import Measured, RoundTrip
from atoken.tokenizing.streams import MediaStream

from ..jobs import Job
from ..object_jobs import round_trip_of_mesh
from .answers import answered
from .gaussian_frame import gaussian_frame
from .limits import Limits
from .places import Places
from .shelf import TOKENIZER, Shelf

FALLBACK_FPS = 10.0  # of clips that state none


def add_reconstruct_tab(shelf: Shelf, limits: Limits, places: Places, examples: list[str]) -> None:
    """Adds the tab to the page that is being made."""
    names = shelf.names[TOKENIZER]
    with gr.Tab("Reconstruct", id="reconstruct"):
        gr.Markdown(
            "A picture, a video or a mesh becomes tokens, and tokens become it again. Nothing else is kept of it."
        )
        with gr.Row():
            with gr.Column(scale=1):
                file = gr.File(label="File", file_types=sorted(MEDIA_SUFFIXES), elem_id="reconstruct-file")
                model = gr.Radio(names, value=names[0], label="Model", elem_id="reconstruct-model")
                button = gr.Button("Reconstruct", variant="primary", elem_id="reconstruct-button")
                if examples:
                    gr.Examples(examples, file, label="Or one of these", elem_id="reconstruct-examples")
            with gr.Column(scale=2):
                picture = gr.ImageSlider(label="Original | reconstruction", visible=False, format="png")
                with gr.Row():
                    original = gr.Video(label="Original", visible=False, loop=True, autoplay=True)
                    clip = gr.Video(label="Reconstruction", visible=False, loop=True, autoplay=True)
                gaussians = gr.HTML(visible=False, elem_id="reconstruct-gaussians")
                facts = gr.Markdown(elem_id="reconstruct-facts")

        @answered
        def work(file: str | None, name: str) -> tuple[Any, ...]:
            path, kind = limits.check_file(file)
            with shelf.using(TOKENIZER, name) as loaded:
                if kind == "object":
                    page, text = _object(loaded, path, places)
                    return (
                        gr.update(visible=False),
                        *[gr.update(visible=False)] * 2,
                        gr.update(value=page, visible=True),
                        text,
                    )
                pairs, measured = _media(loaded, path, kind, limits)
                text = facts_of(loaded, measured)
            if kind == "image":
                return gr.update(value=pairs[0], visible=True), *[gr.update(visible=False)] * 3, text
            folder = places.new()
            fps = measured.fps or FALLBACK_FPS
            clips = []
            for part, label in enumerate(("original", "reconstruction")):
                clips.append(folder / f"{label}.mp4")
                write_video(clips[-1], (pair[part] for pair in pairs), fps)
            shown = [gr.update(value=str(clip), visible=True) for clip in clips]
            return gr.update(visible=False), *shown, gr.update(visible=False), text

        outputs = [picture, original, clip, gaussians, facts]
        button.click(work, [file, model], outputs, concurrency_id="model", api_name="reconstruct")


def _media(
    loaded: LoadedModel, path: Path, kind: str, limits: Limits
) -> tuple[list[tuple[np.ndarray, np.ndarray]], Measured]:
    """Gives the frames of an original and of its reconstruction, pair by pair, (H, W, 3) uint8."""
    trip = RoundTrip(loaded, MediaStream.open(loaded, path, kind), torch.bfloat16)
    pairs = []
    for original, reconstruction in limits.deadline().watch(trip):
        pairs.extend(zip(original, reconstruction, strict=True))
    return pairs, trip.measured()


def _object(loaded: LoadedModel, path: Path, places: Places) -> tuple[str, str]:
    """Gives a frame in which the Gaussians of a mesh can be turned, and the facts."""
    item, gaussians, measured = round_trip_of_mesh(loaded, Job(path, Path(path.stem), "object"), "bfloat16")
    frame = gaussian_frame(gaussians, path.stem, places)
    return frame, facts_of(loaded, measured) + f"\n| Gaussians | {len(gaussians):,} |"


def facts_of(loaded: LoadedModel, measured: Measured) -> str:
    """Writes what the tokens are and how good they are as a table in Markdown."""
    content = "codes" if loaded.discrete else "latents"
    each = bits_per_token(loaded.model.config, content, torch.bfloat16)
    rows = [
        ("Size", size_text(measured.media_size) if measured.media_size else None),
        ("Tokens", f"{measured.tokens:,} of {each} bits ({measured.latent_dtype})"),
        ("All bits", f"{measured.tokens * each / 8192:,.1f} KiB"),
        ("Bits per pixel", None if measured.bits_per_pixel is None else f"{measured.bits_per_pixel:.3f}"),
        ("PSNR", "equal" if measured.psnr is None else f"{measured.psnr:.2f} dB"),
        ("SSIM", None if measured.ssim is None else f"{measured.ssim:.3f}"),
        ("Seconds of the model", f"{measured.seconds:.2f}"),
    ]
    lines = [f"| {name} | {value} |" for name, value in rows if value is not None]
    return "\n".join(["| | |", "|---|---|", *lines])
