"""`save_with_code`: a folder with which a process without our package answers the same."""

import os
import subprocess
import sys
import sysconfig

import pytest
import torch

from atoken.mllm import save_with_code

from .parts import clip, model_inputs, parts, picture, question

STRANGER = """
import importlib.util, sys
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

assert importlib.util.find_spec("atoken") is None, "our package can be seen"
folder, expected, again = sys.argv[1:]
given = torch.load(expected, weights_only=True)
for place in (folder, again):
    model = AutoModelForImageTextToText.from_pretrained(place, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(place, trust_remote_code=True)
    inputs = processor(images=[given["image"].numpy()], videos=[given["video"].numpy()], text=given["text"],
                       return_tensors="pt")
    torch.testing.assert_close(inputs["input_ids"], given["input_ids"])
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, given["logits"], atol=1e-4, rtol=0)
    if place == folder:
        model.save_pretrained(again)
        processor.save_pretrained(again)
print("all loaded")
"""


@torch.no_grad()
def test_a_process_without_our_package_answers_and_saves_again(tmp_path):
    model, processor = parts()
    image, video = picture(64, 96), clip(6, 40, 64)
    conversation = question("What?", image=image, video=video)
    inputs = model_inputs(processor, [conversation])
    given = {
        "image": torch.from_numpy(image),
        "video": torch.from_numpy(video),
        "text": processor.apply_chat_template(conversation, add_generation_prompt=True),
        "input_ids": inputs.input_ids,
        "logits": model(**inputs).logits,
    }
    torch.save(given, tmp_path / "expected.pt")
    (tmp_path / "repository").mkdir()
    save_with_code(model, processor, tmp_path / "repository")
    assert getattr(model.config, "auto_map", None) is None and type(model)._auto_class is None
    environment = {
        **os.environ,
        "PYTHONPATH": sysconfig.get_path("purelib"),  # packages, but not the links of editable installations
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
    }
    arguments = [str(tmp_path / name) for name in ("repository", "expected.pt", "again")]
    result = subprocess.run(
        [sys.executable, "-S", "-c", STRANGER, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "all loaded" in result.stdout


def test_the_folder_must_be_there(tmp_path):
    with pytest.raises(ValueError, match="folder must be an existing folder"):
        save_with_code(*parts(), tmp_path / "missing")
