"""The tab that answers questions about a picture or a video."""

import gradio as gr

from atoken.evaluation.answering import answer, read_medium
from atoken.processing.media_suffixes_atoken import IMAGE_SUFFIXES, VIDEO_SUFFIXES

from .answers import answered
from .limits import Limits
from .shelf import ANSWERER, Shelf

LONGEST_ANSWER = 64  # tokens


def add_ask_tab(shelf: Shelf, limits: Limits) -> None:
    """Adds the tab to the page that is being made."""
    names = shelf.names[ANSWERER]
    with gr.Tab("Ask", id="ask"):
        gr.Markdown(
            "A question about a picture or a video. The tiny model knows the drawn world that it was trained on, and "
            "its questions: What color is it? What shape is it? Where is it? How does it move?"
        )
        with gr.Row():
            with gr.Column():
                kinds = sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES)
                file = gr.File(label="File", file_types=kinds, elem_id="ask-file")
                question = gr.Textbox("What color is it?", label="Question", elem_id="ask-question")
                model = gr.Radio(names, value=names[0], label="Model", elem_id="ask-model")
                button = gr.Button("Ask", variant="primary", elem_id="ask-button")
            given = gr.Textbox(label="Answer", elem_id="ask-answer", interactive=False, lines=3)

        @answered
        def work(file: str | None, question: str, name: str) -> str:
            text = limits.check_text(question)
            path, kind = limits.check_file(file)
            if kind == "object":
                raise ValueError(f"file must be a picture or a video, got a mesh, {path.name}")
            with shelf.using(ANSWERER, name) as loaded:
                return answer(loaded, [read_medium(loaded, path, kind)], text, LONGEST_ANSWER).text

        button.click(work, [file, question, model], given, concurrency_id="model", api_name="ask")
