"""A training loop that knows no model: an objective says what is learned, batches from what, hooks do the rest."""

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import broadcast
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.files import NewFolder

from . import checkpoints
from .optimization import AveragedWeights, OptimizerSettings, build_optimizer, set_rates
from .throughput import device_peak


class Diverged(RuntimeError):
    """Says that the loss stayed not finite for too long."""


class Batch(Protocol):
    """
    Describes what one forward and backward pass takes.

    Attributes:
        task: what it is for; the log's names begin with it.
        num_tokens: how much it holds.
        weighed_by_tokens: whether its loss is a mean over tokens, so that the mean over processes has to be weighed.
    """

    task: str
    num_tokens: int
    weighed_by_tokens: bool

    def to(self, device: torch.device) -> "Batch":
        """Gives a copy on a device."""


class Batches(Protocol):
    """Describes an endless source of steps, which can be stopped and goes on where it was."""

    @property
    def per_step(self) -> int:
        """Counts the micro batches of a step, always as many."""

    def __next__(self) -> Sequence[Batch]:
        """Gives the micro batches of the next step, whose losses are added."""

    def counters(self) -> dict[str, float]:
        """Gives what the log says about the data so far."""

    def state(self) -> dict[str, Any]:
        """Gives what `restore` goes on from: JSON-ready, under other names than `processes`, `progress` and `sums`."""

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on behind the last batch before `state` was asked for."""

    def close(self) -> None:
        """Ends what reads ahead."""


class Objective(Protocol):
    """
    Describes a `torch.nn.Module` that gives losses. It is one module, so that whatever wraps a model for data
    parallelism or sharding sees one forward call per batch.

    Attributes:
        model: what is trained and exported.
    """

    model: nn.Module

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Gives "loss", to be minimized, and its parts: scalars, means over this process's batch."""

    def count_flops(self, batch: Batch) -> float | None:
        """Counts the operations of a forward and backward pass, for the share of the device's peak; None if unknown."""

    def export(self, state: dict[str, torch.Tensor], folder: Path) -> None:
        """Writes weights, from a state dict of the whole module, and all that goes with them, into a folder."""


@dataclass(frozen=True)
class TrainerSettings:
    """
    Holds how long a run lasts, and what it writes.

    Attributes:
        output: folder of checkpoints, logs and the exported model.
        steps: optimizer steps.
        optimizer: see `OptimizerSettings`.
        minutes: time for steps. Where it is given, rates fall with time, and the run ends when either is used up.
        max_skipped: steps in a row without finite gradients before giving up.
        save_every, log_every: steps between checkpoints, and those that a line of the log is the mean of.
        keep: checkpoints that stay.

    Raises:
        ValueError: a number is not positive.
    """

    output: Path
    steps: int
    optimizer: OptimizerSettings
    minutes: float | None = None
    max_skipped: int = 10
    save_every: int = 1000
    log_every: int = 10
    keep: int = 3

    def __post_init__(self):
        for name in ("steps", "max_skipped", "save_every", "log_every", "keep"):
            least = 0 if name == "max_skipped" else 1
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.minutes is not None and self.minutes <= 0:
            raise ValueError(f"minutes must be above 0, got {self.minutes}")

    @property
    def exported(self) -> Path:
        """Gives the folder of the averaged weights."""
        return self.output / "model"


@dataclass
class Progress:
    """Holds how far a run is; equal in all processes. `seconds` are those of steps, without checkpoints and hooks."""

    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0


class Hook:
    """Is told what happens in a run, in every process; each method may be left as it is."""

    def on_start(self, trainer: "Trainer") -> None:
        """Is called before the first step of a run."""

    def before_clip(self, model: nn.Module) -> None:
        """Is called with the objective's model when all gradients of a step are there, before they are clipped."""

    def on_log(self, numbers: dict[str, float]) -> None:
        """Is called with each line of the log."""

    def after_step(self, trainer: "Trainer") -> None:
        """Is called after each step, its line of the log and its checkpoint. Its time counts for no speed."""

    def on_export(self, folder: Path) -> None:
        """Is called in the first process alone, with the folder that is about to become the exported one."""

    def on_end(self) -> None:
        """Is called when a run ends, also where an error ends it."""


class Trainer:
    """
    Trains an objective. `run` goes from where it is to the last step.

    Args:
        accelerator: how the run is spread over processes, with as many accumulation steps as a step has micro batches.
        objective: what is minimized.
        batches: what it is computed from.
        settings: how long, and what is written.
        hooks: what else is done.

    Raises:
        ValueError: the accelerator accumulates another number of micro batches than a step has.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        objective: Objective,
        batches: Batches,
        settings: TrainerSettings,
        hooks: Sequence[Hook] = (),
    ):
        self.accelerator, self.batches, self.settings, self.hooks = accelerator, batches, settings, tuple(hooks)
        if accelerator.gradient_accumulation_steps != batches.per_step:
            raise ValueError(
                f"gradient_accumulation_steps must be {batches.per_step}, the micro batches of a step, got "
                f"{accelerator.gradient_accumulation_steps}; leave it out of the launcher's file"
            )
        self.bare_objective = objective
        optimizer = build_optimizer(objective, settings.optimizer)
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        self.average = AveragedWeights(self.objective, settings.optimizer.average)
        self.progress = Progress()
        self._sums: dict[str, list[torch.Tensor]] = defaultdict(list)

    def run(self) -> None:
        """
        Trains to the last step and exports the averaged weights.

        Raises:
            Diverged: the gradients were not finite for too many steps in a row.
        """
        self.settings.output.mkdir(parents=True, exist_ok=True)
        for hook in self.hooks:
            hook.on_start(self)
        try:
            self._run()
        finally:
            for hook in self.hooks:
                hook.on_end()

    def _run(self) -> None:
        settings, progress = self.settings, self.progress
        self.objective.train()
        began, tokens, flops = time.perf_counter(), 0, []
        is_last = progress.step >= settings.steps or self._share_of_time() >= 1
        while not is_last:
            step_began = time.perf_counter()
            micro_batches = [batch.to(self.accelerator.device) for batch in next(self.batches)]
            self.step(micro_batches)
            self._count_time(time.perf_counter() - step_began)
            tokens += sum(batch.num_tokens for batch in micro_batches)
            flops += [self.bare_objective.count_flops(batch) for batch in micro_batches]
            is_last = progress.step == settings.steps or self._share_of_time() >= 1
            if progress.step % settings.log_every == 0 or is_last:
                self._log(time.perf_counter() - began, tokens, flops)
                began, tokens, flops = time.perf_counter(), 0, []
            if progress.step % settings.save_every == 0 or is_last:
                self.save()
            paused = time.perf_counter()
            for hook in self.hooks:
                hook.after_step(self)
            began += time.perf_counter() - paused
        self.export(settings.exported)

    def step(self, micro_batches: Sequence[Batch]) -> None:
        """
        Does one optimizer step on the sum of the micro batches' losses, or skips it if a gradient is not finite.

        Raises:
            Diverged: that happened in too many steps in a row.
        """
        progress, settings = self.progress, self.settings.optimizer
        share = None if self.settings.minutes is None else self._share_of_time()
        set_rates(self.optimizer, settings.factor(progress.step, self.settings.steps, share))
        norm = None
        for batch in micro_batches:
            with self.accelerator.accumulate(self.objective):
                parts = self.objective(batch)
                loss = parts["loss"] * self._share(batch)
                self._check_before_backward(loss)
                # accelerate divides by the number of micro batches; their losses are added.
                self.accelerator.backward(loss * len(micro_batches))
                for name, part in parts.items():
                    self._sums[f"{batch.task}/{name}"].append(part.detach())
                if self.accelerator.sync_gradients:
                    for hook in self.hooks:
                        hook.before_clip(self.bare_objective.model)
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
            self._sums["gradient norm"].append(norm.detach().float())
        progress.step += 1
        if not progress.skipped_in_a_row:
            self.average.update(self.objective, progress.step)
        if progress.skipped_in_a_row > self.settings.max_skipped:
            raise Diverged(
                f"gradients were not finite for {progress.skipped_in_a_row} steps in a row, up to {progress.step}. "
                "Lower the rate, or resume from a checkpoint with another seed"
            )

    def _count_time(self, seconds: float) -> None:
        if self.settings.minutes is not None:
            # The first process's clock: all have to end with the same step.
            seconds = float(broadcast(torch.tensor(seconds, device=self.accelerator.device)))
        self.progress.seconds += seconds

    def _share_of_time(self) -> float:
        minutes = self.settings.minutes
        return 0.0 if minutes is None else self.progress.seconds / (60 * minutes)

    def _share(self, batch: Batch) -> torch.Tensor | float:
        """Gives the factor by which the mean over processes is that over all tokens, as batches differ in size."""
        count = self.accelerator.num_processes
        if count == 1 or not batch.weighed_by_tokens:
            return 1.0
        tokens = torch.tensor(float(batch.num_tokens), device=self.accelerator.device)
        return tokens * count / self.accelerator.reduce(tokens, "sum")

    def _check_before_backward(self, loss: torch.Tensor) -> None:
        # DeepSpeed's engine steps within backward, so that a bad step cannot be taken back.
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            bad = self.accelerator.reduce((~torch.isfinite(loss.detach())).float(), "sum")
            if bad:
                raise Diverged("the loss is not finite; resume from the last checkpoint with another seed")

    def _is_finite(self, norm: Any) -> bool:
        return norm is None or bool(torch.isfinite(torch.as_tensor(norm)).all())

    def _log(self, seconds: float, tokens: int, flops: list[float | None]) -> None:
        progress, accelerator = self.progress, self.accelerator
        means = {name: torch.stack(values).mean() for name, values in self._sums.items()}
        numbers = {name: float(value) for name, value in accelerator.reduce(means, "mean").items()}
        self._sums.clear()
        numbers["tokens per second"] = tokens * accelerator.num_processes / seconds
        peak = device_peak(accelerator.device)
        if peak and None not in flops:
            numbers["MFU"] = sum(flops) / seconds / peak
        numbers["minutes"] = progress.seconds / 60
        numbers["learning rate"] = self.optimizer.param_groups[0]["lr"]
        numbers["skipped steps"] = progress.skipped
        numbers |= self.batches.counters()
        accelerator.log(numbers, step=progress.step)
        for hook in self.hooks:
            hook.on_log(numbers)
        self.append_line("log.jsonl", numbers)

    def append_line(self, name: str, numbers: dict[str, float]) -> None:
        """Adds numbers of this step to a file of JSON lines in the output folder, in the first process."""
        if self.accelerator.is_main_process:
            with (self.settings.output / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.progress.step, **numbers}) + "\n")

    def save(self) -> None:
        """Writes a checkpoint of this step."""
        accelerator = self.accelerator
        folder = checkpoints.folder_for(self.settings.output, self.progress.step)
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
            "sums": {name: [float(value) for value in values] for name, values in self._sums.items()},
            **self.batches.state(),
        }
        (partial / f"progress-{rank}.json").write_text(json.dumps(state), encoding="utf-8")
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            checkpoints.complete(folder, self.settings.keep)
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
                f"processes must be {first['processes']}, which wrote {folder}, got {self.accelerator.num_processes}; "
                "launch as many, or start from its exported weights"
            )
        state = json.loads((folder / f"progress-{rank}.json").read_text(encoding="utf-8"))
        self.accelerator.load_state(str(folder / "state"))
        averages = load_file(folder / f"average-{rank}.safetensors")
        # Not load_file's own device, as it does not know the "cpu:0" of several processes.
        self.average.values = {name: value.to(self.accelerator.device) for name, value in averages.items()}
        self.progress = Progress(**state["progress"])
        for name, values in state["sums"].items():
            self._sums[name] = [torch.tensor(value, device=self.accelerator.device) for value in values]
        if self.accelerator.is_main_process:
            for log in self.settings.output.glob("*.jsonl"):
                _forget_after(log, self.progress.step)
        self.batches.restore(state)

    def export(self, folder: Path) -> None:
        """Writes the averaged weights and what goes with them, whole or not at all."""
        self.average.swap(self.objective)
        # Copies: without sharding they are the parameters themselves, which are about to change back.
        # ZeRO-3 gathers them in the first process alone.
        state = self.accelerator.get_state_dict(self.objective) or {}
        state = {name: value.clone() for name, value in state.items()}
        self.average.swap(self.objective)
        if self.accelerator.is_main_process:
            with NewFolder(folder) as new:
                self.bare_objective.export(state, new)
                for hook in self.hooks:
                    hook.on_export(new)
        self.accelerator.wait_for_everyone()


def _forget_after(log: Path, step: int) -> None:
    """Removes the lines of a log that a resumed run will write again."""
    # A line that was cut off has no end.
    lines = [line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    with atomic_file(log) as temporary:
        kept = "".join(line for line in lines if json.loads(line)["step"] <= step)
        temporary.write_text(kept, encoding="utf-8")
