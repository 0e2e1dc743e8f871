"""The tab that compares a file with texts."""

from pathlib import Path

import gradio as gr

from atoken.processing.media_suffixes_atoken import MEDIA_SUFFIXES

from ..jobs import Job
from ..media_jobs import embed_media, embed_texts
from .answers import answered
from .limits import Limits
from .shelf import TOKENIZER, Shelf

MOST_TEXTS = 16


def add_compare_tab(shelf: Shelf, limits: Limits) -> None:
    """Adds the tab to the page that is being made."""
    names = shelf.names[TOKENIZER]
    with gr.Tab("Compare with texts", id="compare"):
        gr.Markdown(
            "Which text fits a picture, a video or a mesh best? One text a line. The tiny models know the words of a "
            "drawn world: colors, shapes, materials, places and motions."
        )
        with gr.Row():
            with gr.Column():
                file = gr.File(label="File", file_types=sorted(MEDIA_SUFFIXES), elem_id="compare-file")
                texts = gr.Textbox(
                    "a red star\na blue circle\na green heart", lines=5, label="Texts", elem_id="compare-texts"
                )
                model = gr.Radio(names, value=names[0], label="Model", elem_id="compare-model")
                button = gr.Button("Compare", variant="primary", elem_id="compare-button")
            shares = gr.Label(label="Shares among these texts", elem_id="compare-shares", num_top_classes=MOST_TEXTS)

        @answered
        def work(file: str | None, texts: str, name: str) -> dict[str, float]:
            lines = list(dict.fromkeys(filter(None, map(str.strip, (texts or "").splitlines()))))
            if not 1 <= len(lines) <= MOST_TEXTS:
                raise ValueError(f"texts must be 1 to {MOST_TEXTS} lines, got {len(lines)}")
            lines = [limits.check_text(line) for line in lines]
            path, kind = limits.check_file(file)
            with shelf.using(TOKENIZER, name) as loaded:
                embedded = embed_texts(loaded, lines)
                cosines = embedded @ embed_media(loaded, Job(path, Path(path.stem), kind))
                scale = loaded.model.logit_scale.detach().float().cpu().exp()
            shares = (cosines * scale).softmax(0)
            return dict(zip(lines, shares.tolist(), strict=True))

        button.click(work, [file, texts, model], shares, concurrency_id="model", api_name="compare")
