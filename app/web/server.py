"""The page, and the server that shows it."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from .ask_tab import add_ask_tab
from .compare_tab import add_compare_tab
from .describe_tab import add_describe_tab
from .generate_tab import add_generate_tab
from .limits import Limits
from .places import KEPT_SECONDS, Places
from .reconstruct_tab import add_reconstruct_tab
from .sculpt_tab import add_sculpt_tab
from .shelf import ANSWERER, GENERATOR, OBJECT_GENERATOR, TEXT_GENERATOR, TOKENIZER, Shelf

TITLE = "atoken: one tokenizer for images, videos and 3D objects"


def build_app(shelf: Shelf, limits: Limits, places: Places, examples: Sequence[Path] = ()) -> gr.Blocks:
    """
    Makes the page with a tab for all that the models can do.

    Args:
        shelf: the models.
        limits: of uploads and of work.
        places: where clips and pages are written.
        examples: media that visitors may try.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(int(KEPT_SECONDS), int(KEPT_SECONDS))) as app:
        gr.Markdown(f"# {TITLE}\nUploads are removed after half an hour. One request is worked on at a time.")
        with gr.Tabs():
            if shelf.names[TOKENIZER]:
                add_reconstruct_tab(shelf, limits, places, [str(path) for path in examples])
                add_compare_tab(shelf, limits)
            if shelf.names[GENERATOR]:
                add_generate_tab(shelf, limits)
            if shelf.names[TEXT_GENERATOR]:
                add_describe_tab(shelf, limits, places)
            if shelf.names[OBJECT_GENERATOR]:
                add_sculpt_tab(shelf, limits, places)
            if shelf.names[ANSWERER]:
                add_ask_tab(shelf, limits)
    # One model at a time; whoever comes when the queue is full is told so.
    return app.queue(max_size=limits.waiting, default_concurrency_limit=1)


def launch(app: gr.Blocks, limits: Limits, places: Places, host: str, port: int | None, block: bool = True) -> str:
    """
    Serves the page.

    Args:
        app: of `build_app`.
        limits: its size of files.
        places: the one folder outside of gradio's own cache that may be read.
        host: address to listen at; "0.0.0.0" lets other machines in.
        port: None takes the first free one from 7860 on.
        block: whether to wait until the server is stopped.

    Returns:
        The address.
    """
    _, address, _ = app.launch(
        server_name=host,
        server_port=port,
        max_file_size=f"{limits.megabytes}mb",
        allowed_paths=[str(places.root)],
        show_error=True,
        share=False,
        quiet=True,
        footer_links=[],
        ssr_mode=False,
        theme=gr.themes.Base(),
        prevent_thread_lock=True,
    )
    if block:
        app.block_thread()
    return address
