"""The tab that makes a 3D object of a picture."""

import gradio as gr
import torch
from PIL import Image

from atoken.tokenizing.pictures import framed

from .answers import answered
from .gaussian_frame import gaussian_frame
from .limits import Limits
from .places import Places
from .shelf import OBJECT_GENERATOR, Shelf


def add_sculpt_tab(shelf: Shelf, limits: Limits, places: Places) -> None:
    """Adds the tab to the page that is being made."""
    names = shelf.names[OBJECT_GENERATOR]
    with gr.Tab("Make an object of a picture", id="sculpt"):
        gr.Markdown(
            "A 3D object of a picture that is transparent behind it (PNG or WebP). The same number gives the same one."
        )
        with gr.Row():
            with gr.Column():
                file = gr.File(label="Picture", file_types=[".png", ".webp"], elem_id="sculpt-file")
                model = gr.Radio(names, value=names[0], label="Model", elem_id="sculpt-model")
                seed = gr.Number(0, precision=0, minimum=0, label="Number", elem_id="sculpt-seed")
                button = gr.Button("Make", variant="primary", elem_id="sculpt-button")
            frame = gr.HTML(elem_id="sculpt-gaussians")

        @answered
        def work(file: str | None, name: str, seed: float) -> str:
            path, kind = limits.check_file(file)
            if kind != "image":
                raise ValueError(f"file must be a picture, got {path.name}")
            with Image.open(path) as picture:
                picture.load()
            deadline = limits.deadline()
            with shelf.using(OBJECT_GENERATOR, name) as (pipeline, _):
                made = pipeline(
                    [[picture]],
                    generator=torch.Generator().manual_seed(int(seed or 0)),
                    callback_on_step_end=deadline.after_step,
                )
            return gaussian_frame(framed(made.gaussians[0].to("cpu")), path.stem, places)

        button.click(work, [file, model, seed], frame, concurrency_id="model", api_name="sculpt")
