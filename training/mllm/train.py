"""Trains one stage of the multimodal language model; the encoder stays as it is.

    accelerate launch -m atoken.training.mllm.train training/mllm/stages/stage-1.yaml --data DATA.yaml \\
        --init-from MODEL --output runs/mllm-1

MODEL is a folder that `AtokenLlavaForConditionalGeneration` and its processor were saved in (docs/mllm.md); the next
stage starts from OUT/model. The same command goes on where a run was stopped.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from accelerate import PartialState
from tqdm import tqdm

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor

from .checkpoints import last_whole_checkpoint
from .collator import within_context
from .feature_cache import FeatureCache
from .sources import media_of, read_sources
from .stage import build_trainer, read_stage


def main(
    stage_file: Annotated[
        Path, typer.Argument(metavar="STAGE", help="YAML file of the stage, such as training/mllm/stages/stage-1.yaml.")
    ],
    data: Annotated[Path, typer.Option(help="YAML file with the sources of conversations.")],
    init_from: Annotated[str, typer.Option(help="Model to start from: folder or Hub name.")],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints and the final model, OUT/model.")],
    cache_features: Annotated[
        Path | None,
        typer.Option(help="Folder for the encoder's pooled features of all media, so that each is encoded once."),
    ] = None,
) -> None:
    """Train one stage: projector, or projector and language model, on conversations."""
    stage = read_stage(stage_file)
    state = PartialState()
    model = AtokenLlavaForConditionalGeneration.from_pretrained(init_from)
    processor = AtokenLlavaProcessor.from_pretrained(init_from)
    with state.main_process_first():
        dataset = read_sources(data)
    cache = None
    if cache_features is not None:
        cache = FeatureCache(cache_features, model, processor)
        conversations = (json.loads(text) for text in dataset["messages"])
        media = sorted(
            {(kind, path) for each in conversations for kind in ("image", "video") for path in media_of(each, kind)}
        )
        model.to(state.device)
        with (
            state.split_between_processes(media) as mine,
            tqdm(total=len(mine), disable=not state.is_main_process) as bar,
        ):
            cache.fill(mine, model, processor, bar.update)
        state.wait_for_everyone()
        cache.refresh()
    with state.main_process_first():
        dataset, left_out = within_context(dataset, processor, stage.context, cache)
    state.print(f"{len(dataset)} conversations, {left_out} left out as longer than {stage.context} tokens")
    trainer = build_trainer(stage, model, processor, dataset, output, cache, processes=state.num_processes)
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(output))
    if stage.lora_rank:
        if state.is_main_process:
            trainer.accelerator.unwrap_model(trainer.model).merge_and_unload().save_pretrained(output / "model")
    else:
        trainer.save_model(str(output / "model"))
    if state.is_main_process:
        processor.save_pretrained(output / "model")


if __name__ == "__main__":
    typer.run(main)
