"""The tab that generates images of a class."""

import json
from typing import Any

import gradio as gr

from atoken.evaluation.seeded_images import SeededImages
from atoken_headers.generator_folders import INDEX
from atoken_headers.model_folders import find_folder

from .answers import answered
from .limits import Limits
from .shelf import GENERATOR, Shelf


def add_generate_tab(shelf: Shelf, limits: Limits) -> None:
    """Adds the tab to the page that is being made."""
    names = shelf.names[GENERATOR]
    with gr.Tab("Generate", id="generate"):
        gr.Markdown("Images of a class, made out of noise. The same number gives the same image.")
        with gr.Row():
            with gr.Column():
                model = gr.Radio(names, value=names[0], label="Model", elem_id="generate-model")
                words = gr.Dropdown(
                    class_names(names[0]), label="Class", elem_id="generate-class", allow_custom_value=True
                )
                count = gr.Slider(1, limits.images, value=min(8, limits.images), step=1, label="Images")
                seed = gr.Number(0, precision=0, minimum=0, label="Number", elem_id="generate-seed")
                button = gr.Button("Generate", variant="primary", elem_id="generate-button")
            gallery = gr.Gallery(
                label="Images", columns=4, object_fit="contain", elem_id="generate-gallery", format="png"
            )

        @answered
        def classes(name: str) -> Any:
            found = class_names(name)
            return gr.update(choices=found, value=found[0] if found else None)

        @answered
        def work(name: str, words: str | int, count: float, seed: float) -> list[Any]:
            if not 1 <= int(count) <= limits.images:
                raise ValueError(f"images must be 1 to {limits.images} here, got {count}")
            with shelf.using(GENERATOR, name) as loaded:
                chosen = [int(words) if str(words).isdecimal() else limits.check_text(words)]
                seeded, deadline = (
                    SeededImages(loaded.pipeline, chosen, int(seed or 0), loaded.sampling),
                    limits.deadline(),
                )
                made = [seeded.images([index])[0] for index in deadline.watch(range(int(count)))]
            return [image.permute(1, 2, 0).numpy() for image in made]

        model.change(classes, model, words, api_visibility="private")
        button.click(work, [model, words, count, seed], gallery, concurrency_id="model", api_name="generate")


def class_names(name: str) -> list[str]:
    """Lists the classes of a generator by the configuration in its folder, without loading it."""
    folder, _ = find_folder(name, INDEX)
    config = json.loads((folder / "transformer/config.json").read_text(encoding="utf-8"))
    named = {int(number): text for number, text in (config.get("id2label") or {}).items()}
    return [named.get(number, str(number)) for number in range(config["num_classes"])]
