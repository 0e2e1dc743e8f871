"""The lmms-eval plugin against a stub of what it uses of that package."""

import sys
import types
from dataclasses import dataclass

import pytest

from atoken.miniature.questions import MiniatureQuestions

from ...mllm.parts import clip, model_inputs, parts, picture, question


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    chat_class_path: str


class Lmms:
    is_simple = True

    def __init__(self):
        self.task_dict = {}
        self.seen = []
        self.cache_hook = types.SimpleNamespace(add_partial=lambda *given: self.seen.append(given))


class ChatMessages:
    def __init__(self, messages):
        self.messages = messages

    def to_hf_messages(self):
        """As lmms-eval 0.7.3: media under `url` become media under their kind, with what else is stated of them."""
        return [
            {
                "role": message["role"],
                "content": [
                    part
                    if part["type"] == "text"
                    else {"type": part["type"], part["type"]: part["url"]}
                    | {name: part[name] for name in ("video_start",) if name in part}
                    for part in message["content"]
                ],
            }
            for message in self.messages
        ]


@pytest.fixture
def plugin(monkeypatch):
    for name, content in (
        ("lmms_eval", {}),
        ("lmms_eval.api", {}),
        ("lmms_eval.api.model", {"lmms": Lmms}),
        ("lmms_eval.protocol", {"ChatMessages": ChatMessages}),
        ("lmms_eval.models", {}),
        ("lmms_eval.models.registry_v2", {"ModelManifest": ModelManifest}),
    ):
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "atoken.evaluation.lmms_model", raising=False)
    from atoken.evaluation.lmms_model import LmmsAtokenLlava

    yield LmmsAtokenLlava
    sys.modules.pop("atoken.evaluation.lmms_model", None)


def request(document: int, **settings):
    return types.SimpleNamespace(args=("context", to_messages, settings, document, "task", "test"))


def to_messages(document):
    kind, medium, text = document
    parts = [] if kind is None else [{"type": kind, "url": medium}]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


DOCUMENTS = [("image", picture(64, 96), "What?"), ("video", clip(6, 40, 64), "Why?"), (None, None, "Who?")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mllm")
    for part in parts():
        part.save_pretrained(path)
    return path


def test_answers_are_those_of_the_model(plugin, folder):
    model, processor = parts()
    expected = []
    for kind, medium, text in DOCUMENTS:
        inputs = model_inputs(processor, [question(text, **({kind: medium} if kind else {}))])
        ids = model.generate(**inputs, max_new_tokens=5, do_sample=False)[:, inputs.input_ids.shape[1] :]
        expected.append(processor.batch_decode(ids, skip_special_tokens=True)[0])
    asked = plugin(str(folder), dtype="float32", device="cpu", batch_size="2")
    assert not asked.is_simple and (asked._rank, asked._world_size) == (0, 1)
    asked.task_dict = {"task": {"test": DOCUMENTS}}
    answers = asked.generate_until([request(index, max_new_tokens=5) for index in range(3)])
    assert answers == [text.strip() for text in expected]
    assert [given[2] for given in asked.seen] == answers
    end = answers[0][2]
    cut = asked.generate_until([request(0, max_new_tokens=5, until=[end])])
    assert cut == [answers[0].partition(end)[0].strip()]


def test_what_is_refused(plugin, folder):
    with pytest.raises(ValueError, match="batch_size must be"):
        plugin(str(folder), batch_size="auto")
    with pytest.raises(ValueError, match="dtype must be"):
        plugin(str(folder), dtype="number")
    asked = plugin(str(folder), dtype="float32", device="cpu")
    asked.task_dict = {"task": {"test": DOCUMENTS}}
    with pytest.raises(NotImplementedError, match="choose a task that generates answers"):
        asked.loglikelihood([])
    with pytest.raises(NotImplementedError, match="choose a task of one round"):
        asked.generate_until_multi_round([])

    def part_of_a_video(document):
        return [{"role": "user", "content": [{"type": "video", "url": document[1], "video_start": 2.0}]}]

    with pytest.raises(ValueError, match="task must show whole media, got video_start"):
        asked.generate_until([types.SimpleNamespace(args=("", part_of_a_video, {}, 1, "task", "test"))])


def test_the_entry_point_names_the_class(plugin):
    from atoken.evaluation.lmms_manifest import manifest

    module, _, name = manifest().chat_class_path.rpartition(".")
    assert manifest().model_id == "atoken_llava"
    assert (module, name) == (plugin.__module__, plugin.__name__)


def test_miniature_questions_go_through_it(plugin, folder):
    questions = MiniatureQuestions("image", "held_out", length=2, kinds=("open",))
    items = [questions[index] for index in range(2)]
    asked = plugin(str(folder), dtype="float32", device="cpu")
    documents = [("image", item["media"][0].permute(1, 2, 0).numpy(), item["question"].text) for item in items]
    asked.task_dict = {"task": {"test": documents}}
    answers = asked.generate_until([request(index, max_new_tokens=3) for index in range(2)])
    assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers)
