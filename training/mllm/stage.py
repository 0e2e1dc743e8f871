"""A stage of training: its settings, and TRL's trainer for it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from datasets import Dataset
from peft import LoraConfig
from torch.utils.data import Sampler
from transformers import TrainerCallback

from atoken.evaluation.yaml_files import read_yaml
from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor

from .batch_order import ShuffledLengthBatches
from .collator import ConversationCollator, StoredFeatures

try:
    from trl import SFTConfig, SFTTrainer
except ImportError as error:
    raise ImportError(f'Conversations are trained on with TRL: pip install "atoken[mllm]" ({error})') from error

TRAINED = ("projector", "projector_and_language_model")
# The language model's linear layers. "all-linear" would adapt the frozen encoder as well.
LANGUAGE_LAYERS = r".*language_model\..*layers\.\d+\..*_proj"


@dataclass(frozen=True)
class Stage:
    """
    Holds the settings of a stage, as its YAML file gives them.

    Attributes:
        name: of the stage, for people.
        learning_rate: highest, after warm-up; it falls by a cosine.
        global_batch: conversations of a step, of all processes.
        process_batch: conversations that a process takes at a time.
        epochs: how often all conversations are seen.
        max_steps: steps in place of epochs; -1 for epochs.
        warmup: share of the steps in which the learning rate grows.
        weight_decay: of AdamW.
        context: tokens of a conversation, at most; longer ones are left out.
        trained: "projector" or "projector_and_language_model". The encoder is frozen.
        bf16: whether to compute in bf16.
        gradient_checkpointing: whether blocks are computed again in the backward pass.
        save_steps: steps between two checkpoints.
        lora_rank: rank of adapters of the language model's layers, in place of its own weights; 0 for none.
        seed: of the order and of new weights.
    """

    name: str
    learning_rate: float
    global_batch: int = 128
    process_batch: int = 1
    epochs: float = 1.0
    max_steps: int = -1
    warmup: float = 0.03
    weight_decay: float = 0.0
    context: int = 16384
    trained: str = "projector_and_language_model"
    bf16: bool = True
    gradient_checkpointing: bool = True
    save_steps: int = 500
    lora_rank: int = 0
    seed: int = 0

    def __post_init__(self):
        if self.trained not in TRAINED:
            raise ValueError(f"trained must be one of {', '.join(TRAINED)}, got {self.trained!r}")
        for name in ("learning_rate", "global_batch", "process_batch", "epochs", "context", "save_steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be a share of the steps in [0, 1), got {self.warmup}")
        if self.lora_rank < 0 or (self.lora_rank and self.trained == "projector"):
            raise ValueError(f"lora_rank must be 0 unless the language model is trained, got {self.lora_rank}")


def read_stage(path: Path) -> Stage:
    """
    Reads a stage file.

    Raises:
        FileNotFoundError: if it does not exist.
        ValueError: if a setting is unknown, missing or out of range.
    """
    settings = read_yaml(path, "path")
    known = {field.name for field in fields(Stage)}
    if not isinstance(settings, dict) or set(settings) - known or {"name", "learning_rate"} - set(settings):
        raise ValueError(
            f"path must be a YAML file with name, learning_rate and others of {sorted(known)}: {settings!r}"
        )
    return Stage(**settings)


class ConversationTrainer(SFTTrainer):
    """Trains on batches of conversations that are alike in length."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler:
        lengths = (self.train_dataset if train_dataset is None else train_dataset)["length"]
        return ShuffledLengthBatches(lengths, self.args.per_device_train_batch_size, self.args.seed)


def build_trainer(
    stage: Stage,
    model: AtokenLlavaForConditionalGeneration,
    processor: AtokenLlavaProcessor,
    dataset: Dataset,
    output: Path,
    cache: StoredFeatures | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    processes: int = 1,
) -> SFTTrainer:
    """
    Builds TRL's trainer of a stage; `train(resume_from_checkpoint=...)` runs it.

    Args:
        stage: the settings.
        model: what is trained, with its encoder frozen from now on.
        processor: of the model.
        dataset: as `within_context` gives it.
        output: folder of checkpoints.
        cache: of pooled features of all media of the data set.
        callbacks: further ones of transformers.
        processes: that train together.

    Raises:
        ValueError: if `global_batch` is no multiple of what the processes take at a time.
    """
    at_a_time = stage.process_batch * processes
    if stage.global_batch % at_a_time:
        raise ValueError(
            f"global_batch must be a multiple of process_batch x processes = {at_a_time}, got {stage.global_batch}"
        )
    freeze(model, stage)
    config = SFTConfig(
        output_dir=str(output),
        learning_rate=stage.learning_rate,
        per_device_train_batch_size=stage.process_batch,
        gradient_accumulation_steps=stage.global_batch // at_a_time,
        num_train_epochs=stage.epochs,
        max_steps=stage.max_steps,
        warmup_steps=stage.warmup,
        lr_scheduler_type="cosine",
        weight_decay=stage.weight_decay,
        bf16=stage.bf16,
        gradient_checkpointing=stage.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if stage.gradient_checkpointing else None,
        save_steps=stage.save_steps,
        save_total_limit=2,
        seed=stage.seed,
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        # The collator reads media, whose number differs from conversation to conversation; nothing is cut.
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=None,
        # Every part takes part in every batch, also without media.
        ddp_find_unused_parameters=False,
    )
    adapters = None
    if stage.lora_rank:
        adapters = LoraConfig(
            r=stage.lora_rank,
            lora_alpha=2 * stage.lora_rank,
            target_modules=LANGUAGE_LAYERS,
            modules_to_save=["multi_modal_projector"],
        )
    return ConversationTrainer(
        model=model,
        args=config,
        train_dataset=dataset,
        data_collator=ConversationCollator(processor, cache),
        processing_class=processor,
        peft_config=adapters,
        callbacks=list(callbacks),
    )


def freeze(model: AtokenLlavaForConditionalGeneration, stage: Stage) -> None:
    """Decides which parts are trained: never the encoder, always the projector."""
    model.requires_grad_(stage.trained != "projector")
    model.model.vision_tower.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
