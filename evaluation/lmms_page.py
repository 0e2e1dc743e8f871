"""The page of scores by lmms-eval: Tables 9 and 10 beside the paper's rows, and the miniature questions.

python -m atoken.evaluation.lmms_page scores/MODEL/DATE_results.json --output answers --lmms-eval 0.7.3
"""

from pathlib import Path
from typing import Annotated

import typer

from atoken.pages.report import write_report_page
from atoken.processing.atomic_files_atoken import atomic_file

from .answer_sections import answer_sections
from .reports.lmms_results import read_lmms_results
from .results import Result, Results

TITLE = "Answers of multimodal language models"


def write_answer_page(results: list[Result], output: Path) -> None:
    """
    Writes results.json, results.md and index.html into `output`.

    Args:
        results: of `read_lmms_results`.
        output: an existing folder.
    """
    sections = answer_sections(results)
    texts = [f"# {TITLE}\n"]
    for section in sections:
        texts.append(f"## {section.title}\n\n{section.table.to_markdown()}\n\n{section.facts}\n")
    with atomic_file(output / "results.md") as temporary:
        temporary.write_text("\n".join(texts), encoding="utf-8")
    write_report_page(output / "index.html", TITLE, sections)
    Results(TITLE, results).write(output / "results.json")


def main(
    files: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Results files of lmms-eval, or folders of them.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the page; created if missing.")],
    lmms_eval: Annotated[str | None, typer.Option(help="Version of lmms-eval, which its files do not state.")] = None,
) -> None:
    """Write the scores of lmms-eval beside the paper's."""
    found: list[Path] = []
    for path in files:
        inside = sorted(path.rglob("*_results.json")) if path.is_dir() else [path]
        if not inside:
            # It ends as if all were well after an error.
            raise typer.BadParameter(f"{path} holds no *_results.json: look for an error in the output of lmms-eval")
        found += inside
    try:
        results = [result for path in found for result in read_lmms_results(path, lmms_eval)]
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error
    output.mkdir(parents=True, exist_ok=True)
    write_answer_page(results, output)
    print((output / "results.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
