"""Trains one stage of the curriculum, on one laptop or many machines; only files and launcher differ.

    accelerate launch -m atoken.training.tokenizer.train training/tokenizer/stages/so400m-1.yaml --data DATA.yaml \\
        --init-from SIGLIP2 --teacher SIGLIP2 --output runs/1

with google/siglip2-so400m-patch16-naflex as SIGLIP2.

OUT/model holds the averaged weights with the processor, ready for the next stage's --init-from; OUT/checkpoint-* hold
all that a run needs to go on exactly where it was.
"""

import json
import shutil
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from accelerate import Accelerator, DistributedType
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor
from tqdm import tqdm

from atoken import AtokenModel
from atoken.processing import AtokenProcessor

from .. import checkpoints
from ..data.batches import Batches, TrainingBatch
from ..data.tasks import open_tasks, read_data
from ..frozen_rows import ProtectedRows
from ..optimization import AveragedWeights, build_optimizer, set_rates
from ..parallelism import build_accelerator
from ..throughput import device_peak, training_flops
from .curriculum import Stage, TaskRound, fit_to_quantizer, prepare_model
from .networks import CLIP, ImageLosses, load_start, load_teacher
from .objective import Objective, model_state, trained_parameters
from .validation import validate

DISTILLED = "image_understanding"
FITTING_BATCHES = 8  # whose latents say how they fit the quantizer


class Diverged(RuntimeError):
    """The loss stayed not finite for too long."""


@dataclass
class Progress:
    """How far a run is; equal in all processes."""

    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0


class Trainer:
    """A stage in training. `run` goes from where it is to the last step."""

    def __init__(
        self,
        accelerator: Accelerator,
        stage: Stage,
        objective: Objective,
        processor: AtokenProcessor,
        batches: dict[str, Batches],
        output: Path,
        protected: ProtectedRows,
        max_skipped: int,
        keep: int,
        log_every: int,
    ):
        self.accelerator, self.stage, self.processor, self.batches = accelerator, stage, processor, batches
        self.output, self.protected = output, protected
        self.max_skipped, self.keep, self.log_every = max_skipped, keep, log_every
        self.model: AtokenModel = objective.model
        self.has_teacher = objective.has_teacher
        optimizer = build_optimizer(objective, stage.optimizer)
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        self.average = AveragedWeights(self.objective, stage.optimizer.average)
        self.round = TaskRound(stage.ratios)
        self.progress = Progress()
        self.sums: dict[str, list[torch.Tensor]] = defaultdict(list)

    def run(self, save_every: int, validate_every: int, validation: Path | None) -> None:
        """Trains to the last step, with a checkpoint every `save_every` and a validation every `validate_every`."""
        self.objective.train()
        steps = self.stage.steps
        bar = tqdm(total=steps, initial=self.progress.step, disable=not self.accelerator.is_main_process)
        began, tokens, flops = time.perf_counter(), 0.0, 0.0
        while self.progress.step < steps:
            micro_batches = self._draw()
            self._step(micro_batches)
            bar.update()
            tokens += sum(batch.num_tokens for batch in micro_batches)
            flops += sum(training_flops(self.model, batch, self.has_teacher) for batch in micro_batches)
            step = self.progress.step
            if step % self.log_every == 0 or step == steps:
                self._log(time.perf_counter() - began, tokens, flops, bar)
                began, tokens, flops = time.perf_counter(), 0.0, 0.0
            if step % save_every == 0 or step == steps:
                self.save()
            if validation is not None and (step % validate_every == 0 or step == steps):
                self._validate(validation)
                began = time.perf_counter()
        self.export(self.output / "model")
        bar.close()

    def _draw(self) -> list[TrainingBatch]:
        """The distillation, which is in every step, and the task whose turn it is."""
        tasks = [DISTILLED, next(self.round)] if self.stage.ratios else [DISTILLED]
        return [next(self.batches[task]).to(self.accelerator.device) for task in tasks]

    def _step(self, micro_batches: list[TrainingBatch]) -> None:
        progress, settings = self.progress, self.stage.optimizer
        set_rates(self.optimizer, settings.factor(progress.step, self.stage.steps))
        norm = None
        for batch in micro_batches:
            with self.accelerator.accumulate(self.objective):
                parts = self.objective(batch)
                loss = parts["loss"] * self._share(batch)
                self._check_before_backward(loss)
                # accelerate divides by the number of micro batches; the tasks' losses are added.
                self.accelerator.backward(loss * len(micro_batches))
                for name, part in parts.items():
                    self.sums[f"{batch.task}/{name}"].append(part.detach())
                if self.accelerator.sync_gradients:
                    self.protected.apply(self.model)
                    norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), settings.clip)
                    # FSDP2's is spread over processes, and DeepSpeed's is a number.
                    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
                    if self._is_finite(norm):
                        self.optimizer.step()
                        progress.skipped_in_a_row = 0
                    else:
                        progress.skipped += 1
                        progress.skipped_in_a_row += 1
                    self.optimizer.zero_grad(set_to_none=True)
        if norm is not None:
            norm = torch.as_tensor(norm, device=self.accelerator.device)
            self.sums["gradient norm"].append(norm.detach().float())
        progress.step += 1
        if not progress.skipped_in_a_row:
            self.average.update(self.objective, progress.step)
        if progress.skipped_in_a_row > self.max_skipped:
            raise Diverged(
                f"gradients were not finite for {progress.skipped_in_a_row} steps in a row, up to {progress.step}. "
                "Lower the rate in the stage file, or resume from a checkpoint with another --seed"
            )

    def _share(self, batch: TrainingBatch) -> torch.Tensor | float:
        """What makes the mean over processes that of all tokens: batches of different processes differ in size."""
        count = self.accelerator.num_processes
        if count == 1 or batch.task.endswith("understanding"):
            return 1.0
        tokens = torch.tensor(float(batch.num_tokens), device=self.accelerator.device)
        return tokens * count / self.accelerator.reduce(tokens, "sum")

    def _check_before_backward(self, loss: torch.Tensor) -> None:
        # DeepSpeed's engine steps within backward, so that a bad step cannot be taken back.
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            bad = self.accelerator.reduce((~torch.isfinite(loss.detach())).float(), "sum")
            if bad:
                raise Diverged("the loss is not finite; resume from the last checkpoint with another --seed")

    def _is_finite(self, norm: Any) -> bool:
        return norm is None or bool(torch.isfinite(torch.as_tensor(norm)).all())

    def _log(self, seconds: float, tokens: float, flops: float, bar: tqdm) -> None:
        progress, accelerator = self.progress, self.accelerator
        means = {name: torch.stack(values).mean() for name, values in self.sums.items()}
        numbers = {name: float(value) for name, value in accelerator.reduce(means, "mean").items()}
        self.sums.clear()
        numbers["tokens per second"] = tokens * accelerator.num_processes / seconds
        peak = device_peak(accelerator.device)
        if peak:
            numbers["MFU"] = flops / seconds / peak
        numbers["learning rate"] = self.optimizer.param_groups[0]["lr"]
        numbers["skipped steps"] = progress.skipped
        for task, batches in self.batches.items():
            numbers[f"{task}/unreadable"] = batches.unreadable
            numbers[f"{task}/too large"] = batches.too_large
        accelerator.log(numbers, step=progress.step)
        if accelerator.is_main_process:
            losses = {name: value for name, value in numbers.items() if name.endswith("/loss")}
            bar.set_postfix({name.removesuffix("/loss"): f"{value:.3f}" for name, value in losses.items()})
            with (self.output / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": progress.step, **numbers}) + "\n")

    def save(self) -> None:
        """Writes a checkpoint of this step."""
        accelerator = self.accelerator
        folder = checkpoints.folder_for(self.output, self.progress.step)
        partial = checkpoints.unfinished(folder)
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial / "state"))
        rank = accelerator.process_index
        save_file(self.average.values, partial / f"average-{rank}.safetensors")
        state = {
            "processes": accelerator.num_processes,
            "progress": asdict(self.progress),
            "round": self.round.state,
            "sums": {name: [float(value) for value in values] for name, values in self.sums.items()},
            "batches": {task: batches.state() for task, batches in self.batches.items()},
        }
        (partial / f"progress-{rank}.json").write_text(json.dumps(state), encoding="utf-8")
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            checkpoints.complete(folder, self.keep)
        accelerator.wait_for_everyone()

    def resume(self, folder: Path) -> None:
        """
        Goes on from a checkpoint.

        Raises:
            ValueError: it was written by another number of processes.
        """
        rank = self.accelerator.process_index
        first = json.loads((folder / "progress-0.json").read_text(encoding="utf-8"))
        if first["processes"] != self.accelerator.num_processes:
            raise ValueError(
                f"resume: {folder} was written by {first['processes']} processes, these are "
                f"{self.accelerator.num_processes}; launch as many, or start from its exported weights"
            )
        state = json.loads((folder / f"progress-{rank}.json").read_text(encoding="utf-8"))
        self.accelerator.load_state(str(folder / "state"))
        averages = load_file(folder / f"average-{rank}.safetensors")
        # Not load_file's own device, as it does not know the "cpu:0" of several processes.
        self.average.values = {name: value.to(self.accelerator.device) for name, value in averages.items()}
        self.progress, self.round.state = Progress(**state["progress"]), state["round"]
        for name, values in state["sums"].items():
            self.sums[name] = [torch.tensor(value, device=self.accelerator.device) for value in values]
        if self.accelerator.is_main_process:
            _forget_after(self.output / "log.jsonl", self.progress.step)
            _forget_after(self.output / "validation.jsonl", self.progress.step)
        for task, batches in self.batches.items():
            batches.restore(state["batches"][task])

    def export(self, folder: Path) -> None:
        """Writes the averaged weights with the processor, whole or not at all."""
        self.average.swap(self.objective)
        # Copies: without sharding they are the parameters themselves, which are about to change back.
        # ZeRO-3 gathers them in the first process alone.
        state = self.accelerator.get_state_dict(self.objective) or {}
        state = {name: value.clone() for name, value in state.items()}
        self.average.swap(self.objective)
        if self.accelerator.is_main_process:
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            self.model.save_pretrained(partial, state_dict=model_state(state))
            self.processor.save_pretrained(partial)
            self.protected.save(partial)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        self.accelerator.wait_for_everyone()

    def _validate(self, validation: Path) -> None:
        self.export(self.output / "model")
        if self.accelerator.is_main_process:
            output = self.output / "validation" / f"{self.progress.step:08d}"
            numbers, pictures = validate(validation, self.output / "model", output)
            self.accelerator.log({f"validation/{name}": value for name, value in numbers.items()}, self.progress.step)
            for tracker in self.accelerator.trackers:
                if tracker.name == "tensorboard":
                    images = {name: _as_array(path) for name, path in pictures.items()}
                    tracker.log_images(images, step=self.progress.step, dataformats="NHWC")
            with (self.output / "validation.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.progress.step, **numbers}) + "\n")
        self.accelerator.wait_for_everyone()


def _forget_after(log: Path, step: int) -> None:
    """Removes the lines of a log that a resumed run will write again."""
    if not log.is_file():
        return
    # A line that was cut off has no end.
    lines = [line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    partial = log.with_suffix(".partial")
    partial.write_text("".join(line for line in lines if json.loads(line)["step"] <= step), encoding="utf-8")
    partial.replace(log)


def _as_array(path: Path) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(path))[None]


@torch.no_grad()
def _fit_latents(model: AtokenModel, batches: dict[str, Batches], tasks: list[str]) -> None:
    latents = []
    for index in range(FITTING_BATCHES):
        batch = next(batches[tasks[index % len(tasks)]])
        latents.append(model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens, pool=False).latents)
    fit_to_quantizer(model, torch.cat(latents))


def main(
    stage_file: Annotated[Path, typer.Argument(metavar="STAGE", help="YAML file of the stage.")],
    data: Annotated[Path, typer.Option(help="YAML file with the sources of every task.")],
    init_from: Annotated[str, typer.Option(help="The stage before, or SigLIP 2: folder or Hub name.")],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the exported model.")],
    teacher: Annotated[
        str | None, typer.Option(help="Vision tower that images are distilled from; without, they are contrasted.")
    ] = None,
    resume: Annotated[str, typer.Option(help='"auto" for the newest whole checkpoint, "never", or a folder.')] = "auto",
    losses: Annotated[str | None, typer.Option(help="Parts of the image loss, such as l1,gram-random.")] = None,
    vgg: Annotated[str | None, typer.Option(help="torchvision's VGG-16 weights; else torch's folder.")] = None,
    clip: Annotated[str, typer.Option(help="CLIP model of the CLIP loss.")] = CLIP,
    steps: Annotated[int | None, typer.Option(help="Instead of the stage's.")] = None,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 1000,
    keep: Annotated[int, typer.Option(help="Checkpoints that stay.")] = 3,
    log_every: Annotated[int, typer.Option(help="Steps that a line of the log is the mean of.")] = 10,
    validation: Annotated[Path | None, typer.Option(help="Evaluation file whose models lie at MODEL.")] = None,
    validate_every: Annotated[int, typer.Option(help="Steps between validations.")] = 5000,
    tracker: Annotated[str, typer.Option(help='"tensorboard", "trackio" or "none".')] = "none",
    max_skipped: Annotated[int, typer.Option(help="Steps in a row without finite gradients before giving up.")] = 10,
    threads: Annotated[int, typer.Option(help="That read samples, for each task.")] = 4,
    gradient_checkpointing: Annotated[bool, typer.Option(help="Less memory for a third more time.")] = False,
    compile_blocks: Annotated[bool, typer.Option("--compile", help="torch.compile of every block.")] = False,
    seed: Annotated[int, typer.Option(help="Of data, samples and new weights.")] = 0,
) -> None:
    """Trains one stage."""
    stage = Stage.read(stage_file)
    if steps is not None:
        stage = replace(stage, steps=steps)
    # A stage that reconstructs no images needs no networks for it.
    weights = stage.losses["image"] if "image_reconstruction" in stage.ratios else {}
    image_losses = ImageLosses.choose(losses if weights else None, weights)
    stage = replace(stage, losses={**stage.losses, "image": image_losses.weights})
    set_seed(seed)
    # Before there is an accelerator: with ZeRO-3 set up, transformers would load shards, and scalars have none.
    model, processor = load_start(init_from)
    tower, scale = (None, 0.0) if teacher is None else load_teacher(teacher)
    networks = image_losses.load(vgg, clip)
    accelerator = build_accelerator(2 if stage.ratios else 1, stage.optimizer.clip, tracker, output)
    protected = ProtectedRows.load(init_from, accelerator.distributed_type)
    tasks = [DISTILLED, *stage.ratios]
    batches = open_tasks(
        tasks,
        read_data(data),
        stage.batch_sizes,
        stage.limits,
        processor.tokenizer,
        model.config.text_config.max_position_embeddings,
        seed,
        accelerator.process_index,
        accelerator.num_processes,
        threads,
    )
    found = _checkpoint(resume, output)
    if stage.quantize and model.quantizer is None and found is None:
        _fit_latents(model, batches, [task for task in tasks if task.endswith("reconstruction")])
    prepare_model(model, stage, torch.Generator().manual_seed(seed))
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if compile_blocks:
        for block in (*model.vision_model.blocks, *model.decoder.blocks):
            block.compile(dynamic=True)
    objective = Objective(model, stage.losses, tower, scale, *networks, seed).to(accelerator.device)
    output.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        accelerator, stage, objective, processor, batches, output, protected, max_skipped, keep, log_every
    )
    if found is not None:
        trainer.resume(found)
    if accelerator.is_main_process:
        counts = trained_parameters(objective)
        print(f"{stage.name}: {counts}, from step {trainer.progress.step} to {stage.steps}", flush=True)
    if tracker != "none":
        accelerator.init_trackers("atoken", config={"stage": stage.name, "seed": seed})
    trainer.run(save_every, validate_every, validation)
    for each in batches.values():
        each.close()
    accelerator.end_training()


def _checkpoint(resume: str, output: Path) -> Path | None:
    if resume == "never":
        return None
    if resume == "auto":
        return checkpoints.newest(output)
    fault = checkpoints.damage(Path(resume))
    if fault is not None:
        raise ValueError(f"resume: {resume} cannot be used: {fault}")
    return Path(resume)


if __name__ == "__main__":
    typer.run(main)
