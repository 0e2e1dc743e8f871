"""Training loops of others: `transformers.Trainer`, and mixed precision of `accelerate`."""

import pytest
import torch
from transformers import Trainer, TrainingArguments

from atoken import AtokenModel

from ...modeling.helpers import as_tokens, assert_close, make_model, media, pack

accelerate = pytest.importorskip("accelerate")


class Media(torch.utils.data.Dataset):
    """A few smooth pictures, which a tiny model can learn within a few steps."""

    def __init__(self, count: int):
        small = media(count, 3, 2, 2)
        self.images = torch.nn.functional.interpolate(small, size=(32, 48), mode="bilinear")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.images[index]}


def collate_dense(samples):
    return {"pixel_values": torch.stack([sample["pixel_values"] for sample in samples]), "return_loss": True}


def collate_packed(samples):
    tokens, coords, cu_seqlens = pack([as_tokens(sample["pixel_values"][None]) for sample in samples])
    sizes = torch.tensor([[1, 32, 48]]).expand(len(samples), -1)
    inputs = {"pixel_values": tokens, "coords": coords, "cu_seqlens": cu_seqlens, "media_sizes": sizes}
    return {**inputs, "return_loss": True}


def trainer(folder, collate, **options) -> Trainer:
    arguments = {
        "max_steps": 12,
        "per_device_train_batch_size": 4,
        "learning_rate": 3e-3,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "seed": 0,
    }
    metrics = options.pop("compute_metrics", None)
    return Trainer(
        model=make_model(),
        args=TrainingArguments(output_dir=str(folder), **{**arguments, **options}),
        train_dataset=Media(16),
        eval_dataset=Media(6),
        data_collator=collate,
        compute_metrics=metrics,
    )


@pytest.mark.parametrize("collate", [collate_dense, collate_packed])
def test_trainer_learns_evaluates_and_saves(tmp_path, collate):
    run = trainer(tmp_path, collate)
    before = run.evaluate()["eval_loss"]
    run.train()
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    assert len(losses) == 12
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    after = run.evaluate()["eval_loss"]
    assert after < 0.8 * before
    run.save_model(str(tmp_path / "model"))
    again = AtokenModel.from_pretrained(tmp_path / "model")
    state = run.model.state_dict()
    assert all(torch.equal(tensor.cpu(), state[name].cpu()) for name, tensor in again.state_dict().items())


def test_trainer_options(tmp_path):
    """Accumulation, checkpointing and bf16 in one run."""
    run = trainer(
        tmp_path,
        collate_dense,
        max_steps=3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        gradient_checkpointing=True,
        bf16=True,
    )
    run.train()
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    whole = trainer(tmp_path, collate_dense, max_steps=3, per_device_train_batch_size=4)
    whole.train()
    expected = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
    # The mean over accumulated batches, not their sum; the same samples in fp32 have nearly the same loss.
    assert losses == pytest.approx(expected, rel=0.05)


def collate_labeled(samples):
    return {**collate_dense(samples), "labels": torch.arange(len(samples))}


@pytest.mark.parametrize("collate", [collate_dense, collate_labeled])
def test_accumulated_batches_move_the_weights_as_one_batch_does(tmp_path, collate):
    """With labels, Trainer counts items, and leaves the division to models that do not say that they take no count."""
    moved = []
    for size, steps in ((1, 4), (4, 1)):
        run = trainer(
            tmp_path,
            collate,
            max_steps=1,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            optim="sgd",
            max_grad_norm=0,
            lr_scheduler_type="constant",
            remove_unused_columns=False,
        )
        before = [parameter.detach().clone() for parameter in run.model.parameters()]
        run.train()
        moved.append(
            torch.cat([(p.detach() - b).flatten() for p, b in zip(run.model.parameters(), before, strict=True)])
        )
    assert moved[0].norm() > 0
    assert_close(moved[0], moved[1], 1e-3 * float(moved[1].abs().max()))


@pytest.mark.parametrize("collate", [collate_dense, collate_packed])
def test_trainer_predicts_embeddings(tmp_path, collate):
    """What has one row per sample is gathered; tokens, of which samples have different numbers, are not."""
    run = trainer(tmp_path, collate, compute_metrics=lambda prediction: {}, per_device_eval_batch_size=4)
    assert run.evaluate()["eval_loss"] > 0
    image_embeds, pooler_output = run.predict(Media(6)).predictions
    with torch.no_grad():
        expected = run.model.eval()(Media(6).images)
    assert_close(torch.from_numpy(image_embeds), expected.image_embeds, 1e-5)
    assert_close(torch.from_numpy(pooler_output), expected.pooler_output, 1e-4)


@pytest.mark.parametrize("kind", ["continuous", "discrete", "text"])
def test_accelerate_bf16(kind):
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(mixed_precision="bf16", cpu=True)
    model = make_model(discrete=kind == "discrete", text=kind == "text").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = torch.utils.data.DataLoader(Media(8), batch_size=4, collate_fn=collate_packed)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    text = {"input_ids": torch.tensor([[2, 5, 7, 1]] * 4)} if kind == "text" else {}
    types = set()
    accelerator.unwrap_model(model).decoder.blocks[0].mlp.fc1.register_forward_hook(
        lambda module, inputs, output: types.add(output.dtype)
    )
    losses = []
    for _ in range(4):
        for inputs in loader:
            optimizer.zero_grad()
            output = model(**inputs, **text)
            accelerator.backward(output.loss)
            for name, parameter in model.named_parameters():
                assert parameter.dtype == torch.float32
                assert parameter.grad is None or parameter.grad.isfinite().all(), name
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(float(output.loss.detach()))
    assert types == {torch.bfloat16}
    assert losses[-1] < losses[0]
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def test_accelerate_gradients_are_near_those_of_fp32():
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    inputs = collate_packed([Media(2)[0], Media(2)[1]])
    gradients = []
    for mixed_precision in ("no", "bf16"):
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = accelerate.Accelerator(mixed_precision=mixed_precision, cpu=True)
        model = accelerator.prepare(make_model().train())
        accelerator.backward(model(**inputs).loss)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98
