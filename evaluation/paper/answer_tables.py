"""Tables 9 and 10: answers of the embedded multimodal language model to questions about the miniature world."""

from atoken.miniature.questions import MiniatureQuestions, as_messages, is_right
from atoken.pages.paper import TitledTable
from atoken.pages.report import Table
from atoken.processing.atomic_files_atoken import atomic_file

from ..answering import LoadedAnswerer, load_answerer
from ..chat_answers import answer_conversations
from ..lmms_miniature import LONGEST_ANSWER, MiniatureTask, miniature_tasks
from .parts import Part
from .protocol import facts_text
from .section import Real
from .workspace import Workspace

MODEL = "atoken-tiny-llava"
BATCH = 32
SEED = 0
HEADING = ["question", "right %", "chance %", "questions"]


def make_images(workspace: Workspace) -> Part:
    """Makes Table 9."""
    return _make(workspace, "image")


def make_videos(workspace: Workspace) -> Part:
    """Makes Table 10."""
    return _make(workspace, "video")


def _make(workspace: Workspace, medium: str) -> Part:
    loaded = load_answerer(workspace.checkpoint(MODEL), "cpu")
    count, rows = workspace.counts.questions, []
    for task in (task for task in miniature_tasks() if task.medium == medium):
        workspace.progress(f"{count} questions: {task.name}")
        right, chance = _kept(workspace, task, loaded, count)
        name = " ".join(filter(None, (task.kind.replace("_", " "), task.about))).replace("colour", "color")
        rows.append([name, f"{100 * right / count:.1f}", f"{100 * chance:.1f}", str(count)])
    size = "pictures of 64 x 64" if medium == "image" else "clips of 8 frames of 64 x 64"
    measured = (
        f"{count} questions of each kind about {size} of the miniature world, with pairs of color and shape that "
        f"training left out, to {MODEL}. An answer is right if it is the same text, without regard to case."
    )
    facts = {
        "questions": f"MiniatureQuestions, split held_out, seed {SEED}, {count} of each kind",
        "answers": f"greedy, at most {LONGEST_ANSWER} tokens, float32",
        "model": loaded.name,
        "fingerprint": loaded.fingerprint,
    }
    return Part(measured, [TitledTable("Miniature questions", Table(HEADING, rows))], protocol=[facts_text(facts)])


def _kept(workspace: Workspace, task: MiniatureTask, loaded: LoadedAnswerer, count: int) -> tuple[int, float]:
    """Asks the questions of a task, or reads how many answers were right when they were asked before."""
    folder = workspace.out / "work" / f"answers-{loaded.fingerprint[:12]}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task.name}.txt"
    if not path.is_file():
        right, chance = right_answers(task, loaded, count)
        with atomic_file(path) as temporary:
            temporary.write_text(f"{right} {chance!r}\n", encoding="utf-8")
    right, chance = path.read_text(encoding="utf-8").split()
    return int(right), float(chance)


def right_answers(task: MiniatureTask, loaded: LoadedAnswerer, count: int) -> tuple[int, float]:
    """
    Asks questions through the code that lmms-eval's plugin answers with.

    Returns:
        How many answers are right, and the mean share that guessing would have.
    """
    drawn = MiniatureQuestions(task.medium, "held_out", count, SEED, kinds=(task.kind,), about=task.about)
    right, chance = 0, 0.0
    for start in range(0, count, BATCH):
        items = [drawn[index] for index in range(start, min(start + BATCH, count))]
        # Pictures (H, W, 3), clips (T, H, W, 3).
        asked = [
            as_messages(item["question"], [medium.movedim(-3, -1).numpy() for medium in item["media"]])[:1]
            for item in items
        ]
        texts = answer_conversations(loaded.model, loaded.processor, asked, LONGEST_ANSWER)
        right += sum(is_right(text, item["question"].answer) for text, item in zip(texts, items, strict=True))
        chance += sum(item["question"].chance for item in items)
    return right, chance / count


def real_images() -> Real:
    """Says what Table 9 needs."""
    return _real("the 7 tasks of Table 9")


def real_videos() -> Real:
    """Says what Table 10 needs."""
    return _real("the 6 tasks of Table 10, hundreds of gigabytes of videos")


def _real(tasks: str) -> Real:
    return Real(
        "the commands of examples/evaluation/mllm.md, after training by training/mllm/stages/stage-1.yaml and "
        "stage-2.yaml (docs/mllm.md)",
        f"SlowFast-LLaVA-1.5's training mixture, Qwen2.5 of 1.5B, 3B and 7B, So/C; {tasks}, which lmms-eval downloads",
        "not known: the paper states no hours for this training, and the time of answers has not been counted",
    )
