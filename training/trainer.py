"""A training loop that knows no model: an objective says what is learned, batches from what, hooks do the rest."""

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import nn
from torch.distributed.tensor import DTensor

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.tokenizing.files import NewFolder

from . import checkpoints, zero_shards
from .agreement import Agreement
from .contracts import Batch, Batches, Objective, Share
from .gradient_clip import GradientClip
from .interruption import Interruption, Stopped
from .optimization import AveragedWeights, OptimizerSettings, build_optimizer, parts_of, set_rates, skip_if
from .saving import CheckpointWriter, load_tensors, named_states
from .throughput import device_peak


class Diverged(RuntimeError):
    """Says that the loss stayed not finite for too long."""


@dataclass(frozen=True)
class TrainerSettings:
    """
    Holds how long a run lasts, and what it writes.

    Attributes:
        output: folder of checkpoints, logs and the exported model.
        steps: optimizer steps.
        optimizer: see `OptimizerSettings`.
        minutes: time for steps. Where it is given, rates fall with time, and the run ends when either is used up.
        max_skipped: steps in a row without finite gradients before giving up, which is looked at with the log.
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
    """
    Holds how far a run is; equal in all processes.

    Attributes:
        step: how many are done.
        seconds: of steps, without checkpoints and hooks.
        skipped, skipped_in_a_row: steps without finite gradients, as of the last line of the log or checkpoint.
    """

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


class StoppedElsewhere(RuntimeError):
    """Says that another process cannot go on; its own message says why."""


class Trainer:
    """
    Trains an objective. `run` goes from where it is to the last step.

    Args:
        accelerator: how the run is spread over processes.
        objective: what is minimized.
        batches: what it is computed from.
        settings: how long, and what is written.
        hooks: what else is done.

    Raises:
        ValueError: DeepSpeed is to do what it cannot: Muon, or cutting gradients at a percentile.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        objective: Objective,
        batches: Batches,
        settings: TrainerSettings,
        hooks: Sequence[Hook] = (),
    ):
        if accelerator.distributed_type == DistributedType.DEEPSPEED:
            _check_for_deepspeed(settings.optimizer)
        self.accelerator, self.batches, self.settings, self.hooks = accelerator, batches, settings, tuple(hooks)
        self.agreement = Agreement()
        self.writer = CheckpointWriter(settings.output, settings.keep, self.agreement)
        self.bare_objective = objective
        optimizer = build_optimizer(objective, settings.optimizer)
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        # FSDP2 adds up whole gradients only of groups whose parameters all take part in each micro-batch. Tasks differ
        # in that, so that shards are added up instead: one reduction more for each micro-batch, but less memory.
        self._adds_shards = accelerator.distributed_type == DistributedType.FSDP
        self.average = AveragedWeights(self.objective, settings.optimizer.average, settings.optimizer.average_ramp)
        self.clip = GradientClip(settings.optimizer.clip, settings.optimizer.clip_percentile)
        self.progress = Progress()
        self.interruption = Interruption()
        self._sums: dict[str, list[torch.Tensor]] = defaultdict(list)
        # Skipped steps, and those in a row: counted on the device, which a step does not wait for.
        self._skipped = torch.zeros(2, dtype=torch.float64 if accelerator.device.type != "mps" else torch.float32)
        self._skipped = self._skipped.to(accelerator.device)

    def run(self) -> None:
        """
        Trains to the last step and exports the averaged weights.

        What the output folder has of later steps than this run begins at is of another run: checkpoints are set aside,
        see `checkpoints.set_aside_after`, and lines of logs removed.

        Raises:
            Diverged: the gradients were not finite for too many steps in a row.
            Stopped: a signal asked for it; a checkpoint of the last step is complete.
            StoppedElsewhere: another process had an error.
        """
        self.settings.output.mkdir(parents=True, exist_ok=True)
        if self.accelerator.is_main_process:
            checkpoints.set_aside_after(self.settings.output, self.progress.step)
            for log in self.settings.output.glob("*.jsonl"):
                _forget_after(log, self.progress.step)
        self.agreement.wait()
        for hook in self.hooks:
            hook.on_start(self)
        try:
            with self.interruption:
                self._run()
        finally:
            for hook in self.hooks:
                hook.on_end()

    def _run(self) -> None:
        settings, progress = self.settings, self.progress
        self.objective.train()
        began, tokens, flops = perf_counter(), 0.0, []
        is_last = progress.step >= settings.steps or self._share_of_time() >= 1
        while not is_last:
            step_began = perf_counter()
            micro_batches, stop = self._next_step()
            tokens += self.step(micro_batches)
            self._count_time(perf_counter() - step_began)
            flops += [self.bare_objective.count_flops(batch) for batch in micro_batches]
            is_last = progress.step == settings.steps or self._share_of_time() >= 1
            if progress.step % settings.log_every == 0 or is_last:
                self._log(perf_counter() - began, tokens, flops)
                began, tokens, flops = perf_counter(), 0.0, []
            if progress.step % settings.save_every == 0 or is_last or stop:
                self.save()
            if stop and not is_last:
                self.writer.finish()
                raise Stopped(f"the run was told to stop after step {progress.step}, and can be resumed from there")
            paused = perf_counter()
            for hook in self.hooks:
                hook.after_step(self)
            began += perf_counter() - paused
        self.writer.finish()
        self.export(settings.exported)

    def _next_step(self) -> tuple[Sequence[Batch], bool]:
        """Gives the next step's micro batches, and whether the run is to stop behind it: all processes agree."""
        error, micro_batches, is_written = None, [], False
        try:
            is_written = self.writer.is_written
            micro_batches = next(self.batches)
        except Exception as caught:  # whatever it is, the other processes must not wait for this one
            error = caught
        failed, asked, written = self.agreement.sum([error is not None, self.interruption.asked, is_written])
        if error is not None:
            raise error
        if failed:
            raise StoppedElsewhere(f"{int(failed)} other processes cannot go on; their own messages say why")
        if written == self.agreement.processes:
            self.writer.seal()
        return micro_batches, asked > 0

    def step(self, micro_batches: Sequence[Batch]) -> float:
        """
        Does one optimizer step on the sum of the micro batches' losses, or skips it if a gradient is not finite.

        Returns:
            The tokens of the step, of all processes.

        Raises:
            Diverged: DeepSpeed alone, the loss is not finite.
        """
        progress, settings, accelerator = self.progress, self.settings.optimizer, self.accelerator
        share = None if self.settings.minutes is None else self._share_of_time()
        set_rates(self.optimizer, settings.factor(progress.step, self.settings.steps, share))
        shares, tokens = self._shares(micro_batches)
        with torch.no_grad(), accelerator.autocast():
            commons = self.objective(list(micro_batches))
        parts: dict[str, torch.Tensor] = {}
        for index, batch in enumerate(micro_batches):
            is_last = index + 1 == len(micro_batches)
            accelerator.sync_gradients = is_last
            with nullcontext() if is_last or self._adds_shards else accelerator.no_sync(self.objective):
                # FSDP2 gets no autocast from accelerate; where there is one already, this is the same again.
                with accelerator.autocast():
                    found = self.objective(batch.to(accelerator.device), shares[index], commons[index])
                self._check_before_backward(found["loss"])
                accelerator.backward(found["loss"])
            for name, part in found.items():
                name = f"{batch.task}/{name}"
                parts[name] = parts.get(name, 0.0) + part.detach()
        for name, part in parts.items():
            self._sums[name].append(part)
        for hook in self.hooks:
            hook.before_clip(self.bare_objective.model)
        self._update(accelerator.clip_grad_norm_(self.objective.parameters(), self.clip.norm()))
        progress.step += 1
        self.average.update(self.objective, progress.step)
        return tokens

    def _update(self, norm: Any) -> None:
        """Lets the optimizer step, if the gradient's norm is finite; the device decides, and the host goes on."""
        if norm is not None:
            # FSDP2's is spread over processes, and DeepSpeed's is a number.
            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
            norm = torch.as_tensor(norm, device=self.accelerator.device).detach().float()
            self._sums["gradient norm"].append(norm)
            if self.clip.follows:
                self.clip.note(float(norm))
            bad = (~torch.isfinite(norm)).float()
            self._skipped += bad
            self._skipped[1] *= bad
            if self.accelerator.distributed_type != DistributedType.DEEPSPEED:
                skip_if([getattr(self.optimizer, "optimizer", self.optimizer)], bad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _shares(self, micro_batches: Sequence[Batch]) -> tuple[list[Share], float]:
        """Gives each micro batch's share of what all processes have of its task in this step, and all tokens."""
        tasks = list(dict.fromkeys(batch.task for batch in micro_batches))
        counts = {task: [0.0, 0.0] for task in tasks}
        for batch in micro_batches:
            counts[batch.task][0] += batch.num_tokens
            counts[batch.task][1] += batch.num_samples
        sums = self.agreement.sum([count for task in tasks for count in counts[task]])
        totals = dict(zip(tasks, zip(sums[::2], sums[1::2], strict=True), strict=True))
        processes = self.agreement.processes
        shares = [
            Share(
                batch.num_tokens * processes / totals[batch.task][0],
                batch.num_samples * processes / totals[batch.task][1],
                self.progress.step,
            )
            for batch in micro_batches
        ]
        return shares, sum(sums[::2])

    def _count_time(self, seconds: float) -> None:
        if self.settings.minutes is not None:
            # The first process's clock: all have to end with the same step.
            seconds = self.agreement.of_first(seconds)
        self.progress.seconds += seconds

    def _share_of_time(self) -> float:
        minutes = self.settings.minutes
        return 0.0 if minutes is None else self.progress.seconds / (60 * minutes)

    def _check_before_backward(self, loss: torch.Tensor) -> None:
        # DeepSpeed's engine steps within backward, so that a bad step cannot be taken back.
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            bad = self.accelerator.reduce((~torch.isfinite(loss.detach())).float(), "sum")
            if bad:
                raise Diverged("the loss is not finite; resume from the last checkpoint with another seed")

    def _read_skipped(self) -> None:
        self.progress.skipped, self.progress.skipped_in_a_row = (int(value) for value in self._skipped.tolist())

    def _log(self, seconds: float, tokens: float, flops: list[float | None]) -> None:
        progress, accelerator = self.progress, self.accelerator
        means = {name: torch.stack(values).mean() for name, values in self._sums.items()}
        numbers = {name: float(value) for name, value in accelerator.reduce(means, "mean").items()}
        self._sums.clear()
        self._read_skipped()
        numbers["tokens per second"] = tokens / seconds
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
        if progress.skipped_in_a_row > self.settings.max_skipped:
            raise Diverged(
                f"gradients were not finite for {progress.skipped_in_a_row} steps in a row, up to {progress.step}. "
                "Lower the rate, or resume from a checkpoint with another seed"
            )

    def append_line(self, name: str, numbers: dict[str, float]) -> None:
        """Adds numbers of this step to a file of JSON lines in the output folder, in the first process."""
        if self.accelerator.is_main_process:
            with (self.settings.output / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.progress.step, **numbers}) + "\n")

    def save(self) -> None:
        """Writes a checkpoint of this step, while training goes on."""
        self._read_skipped()
        facts = {
            "progress": asdict(self.progress),
            "sums": {name: [float(value) for value in values] for name, values in self._sums.items()},
            "data": self.batches.state(),
            "norms": self.clip.state(),
        }
        step = self.progress.step
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            beside = partial(zero_shards.save, self.accelerator, self.average)
            self.writer.begin(step, {"step": torch.tensor(step)}, facts, beside)
            return
        self.writer.begin(step, self._tensors() | named_states(self._parameters(), self._optimizers()), facts)

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return parts_of(self.optimizer)

    def _parameters(self) -> dict[str, nn.Parameter]:
        """Gives all parameters by the names that they have in the objective, whatever wraps it."""
        return {name.removeprefix("module."): each for name, each in self.objective.named_parameters()}

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Gives weights, buffers and averages; they share memory with what is trained."""
        state = {f"model.{name.removeprefix('module.')}": value for name, value in self.objective.state_dict().items()}
        averages = self.average.shards(self.objective)
        return state | {f"average.{name.removeprefix('module.')}": value for name, value in averages.items()}

    def resume(self, folder: Path) -> None:
        """
        Goes on from a checkpoint, which any number of processes may have written.

        Raises:
            ValueError: with DeepSpeed, another number of processes wrote it.
        """
        state = checkpoints.read_part(folder, self.agreement.rank)
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            zero_shards.load(self.accelerator, self.average, folder)
        else:
            load_tensors(folder, self._tensors(), self._parameters(), self._optimizers(), self.agreement)
        self.progress = Progress(**state["progress"])
        skipped = [self.progress.skipped, self.progress.skipped_in_a_row]
        self._skipped = torch.tensor(skipped, dtype=self._skipped.dtype, device=self.accelerator.device)
        if checkpoints.processes_of(folder) == self.agreement.processes:
            for name, values in state["sums"].items():
                self._sums[name] = [torch.tensor(value, device=self.accelerator.device) for value in values]
        self.clip.restore(state.get("norms"))
        self.batches.restore(state["data"])

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


def _check_for_deepspeed(settings: OptimizerSettings) -> None:
    if settings.kind != "adamw":
        raise ValueError(
            'kind must be "adamw" with DeepSpeed, which hands optimizers flat pieces of weights and no matrices, '
            f"got {settings.kind!r}; use whole copies or FSDP2"
        )
    if settings.clip_percentile is not None:
        raise ValueError(
            "clip_percentile must be left out with DeepSpeed, which cuts gradients itself, got "
            f"{settings.clip_percentile}; use whole copies or FSDP2"
        )


def _forget_after(log: Path, step: int) -> None:
    """Removes the lines of a log that the run will write again."""
    # A line that was cut off has no end.
    lines = [line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    with atomic_file(log) as temporary:
        kept = "".join(line for line in lines if json.loads(line)["step"] <= step)
        temporary.write_text(kept, encoding="utf-8")
