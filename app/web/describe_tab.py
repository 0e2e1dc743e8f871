"""The tab that makes images and clips of a text."""

from typing import Any

import gradio as gr

from atoken.evaluation.seeded_images import image_generator
from atoken.processing.media_writing_atoken import write_video

from .answers import answered
from .limits import Limits
from .places import Places
from .shelf import TEXT_GENERATOR, Shelf

CLIP_FRAMES, CLIP_FPS = 16, 8.0
IMAGE, CLIP = "image", "clip"


def add_describe_tab(shelf: Shelf, limits: Limits, places: Places) -> None:
    """Adds the tab to the page that is being made."""
    names = shelf.names[TEXT_GENERATOR]
    with gr.Tab("Make of a text", id="describe"):
        gr.Markdown("An image or a clip of a text, made out of noise. The same number gives the same one.")
        with gr.Row():
            with gr.Column():
                model = gr.Radio(names, value=names[0], label="Model", elem_id="describe-model")
                text = gr.Textbox("a small red cube moving left", label="Text", elem_id="describe-text")
                kind = gr.Radio([IMAGE, CLIP], value=CLIP, label="What to make", elem_id="describe-kind")
                seed = gr.Number(0, precision=0, minimum=0, label="Number", elem_id="describe-seed")
                button = gr.Button("Make", variant="primary", elem_id="describe-button")
            with gr.Column():
                picture = gr.Image(label="Image", visible=False, format="png", elem_id="describe-picture")
                clip = gr.Video(label="Clip", visible=False, loop=True, autoplay=True, elem_id="describe-clip")

        @answered
        def work(name: str, text: str, kind: str, seed: float) -> tuple[Any, Any]:
            words, deadline = limits.check_text(text), limits.deadline()
            if kind not in (IMAGE, CLIP):
                raise ValueError(f"kind must be {IMAGE} or {CLIP}, got {kind!r}")
            frames = 1 if kind == IMAGE else CLIP_FRAMES
            with shelf.using(TEXT_GENERATOR, name) as loaded:
                made = loaded.pipeline(
                    [words],
                    frames,
                    generator=[image_generator(int(seed or 0), 0)],
                    output_type="np",
                    callback_on_step_end=deadline.after_step,
                )
            (item,) = made.images if kind == IMAGE else made.frames
            pixels = (item * 255).round().astype("uint8")
            if kind == IMAGE:
                return gr.update(value=pixels, visible=True), gr.update(visible=False)
            path = places.new() / "clip.mp4"
            write_video(path, pixels, CLIP_FPS, crf=12)
            return gr.update(visible=False), gr.update(value=str(path), visible=True)

        button.click(work, [model, text, kind, seed], [picture, clip], concurrency_id="model", api_name="describe")
