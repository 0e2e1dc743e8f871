"""Results as a page (HTML and Markdown): tables beside the paper's figures, rate and distortion, the worst samples."""

import io
from dataclasses import replace
from pathlib import Path

from atoken.pages.report import Picture, Plot, Section, write_report_page
from atoken.processing.atomic_files_atoken import atomic_file

from .answer_sections import answer_sections
from .made_samples import Made
from .number_tables import paper_table, set_table
from .projection import scatter_plot
from .report_sections import of_texts_table, report_section, said
from .results import Result, Results
from .worst import Worst

MARKERS = "osD^v"


def _rate(results: list[Result]) -> str:
    return "bits" if results[0].kind == "object" else "bits_per_pixel"


def rate_distortion_plot(results: list[Result]) -> bytes:
    """
    Draws PSNR over stored bits as PNG; bits per pixel where there are pixels, else bits of an object.

    Results without bits, as of reconstructions that others made, are left out.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "atoken[evaluation]"') from error
    rate = _rate(results)
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    shown = [result for result in results if {"psnr", rate} <= set(result.numbers)]
    for index, result in enumerate(shown):
        marker = MARKERS[index // 10 % len(MARKERS)]
        axes.plot(result.numbers[rate], result.numbers["psnr"], marker, label=result.model)
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis("{x:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.set_xlabel(rate.replace("_", " "))
    axes.set_ylabel("PSNR (dB)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110)
    return target.getvalue()


def write_report(results: Results, worst: list[Worst], made: list[Made], output: Path) -> None:
    """
    Writes results.md and index.html into `output`.

    Args:
        worst: the samples to show, with their pictures in `output`.
        made: of captions, likewise.
        output: an existing folder.
    """
    texts = [f"# {results.title}\n"]
    sections = _sections(results, worst, made)
    for section in sections:
        name = section.title
        texts.append(f"## {name}\n\n{section.table.to_markdown()}\n\n{section.facts}\n")
        texts += [table.to_markdown() + "\n" for table in section.appendices.values()]
    with atomic_file(output / "results.md") as temporary:
        temporary.write_text("\n".join(texts), encoding="utf-8")
    write_report_page(output / "index.html", results.title, sections)


def _sections(results: Results, worst: list[Worst], made: list[Made]) -> list[Section]:
    """Lists the sections: each set, what others have measured, and all that the paper's Table 13 has in one table."""
    sections = []
    for name, chosen in results.by_set().items():
        if chosen[0].task == "report":
            sections.append(report_section(name, chosen))
        elif chosen[0].task != "answers":
            section = _section(name, chosen, [one for one in worst if one.set == name])
            for one in made:
                if one.set == name:
                    section.galleries[f"First of {one.model}"] = [
                        Picture(sample.picture, sample.caption, sample.caption) for sample in one.samples
                    ]
            sections.append(section)
    sections += answer_sections([result for result in results.results if result.task == "answers"])
    whole = of_texts_table(results.results)
    if whole is not None:
        facts = "CLIP-Score and PickScore of sets of images; GenEval and VBench as imported"
        sections.append(Section("Text to images and videos (the paper's Table 13)", whole, facts))
    return sections


def _section(name: str, results: list[Result], worst: list[Worst]) -> Section:
    """Collects what there is to say and to show of the results on one set."""
    kind, task = results[0].kind, results[0].task
    facts = "; ".join(f"{key}: {value}" for key, value in results[0].protocol["set"]["protocol"].items())
    section = Section(name, set_table(results), facts)
    if task == "projection":
        section.plots.append(Plot(scatter_plot(results), "t-SNE of samples, colored by class"))
        return section
    if task in ("captions", "pictures"):
        return replace(section, facts=f"{facts}; {_measured_by(results)}")
    if task == "generation":
        return section
    if any({"psnr", _rate(results)} <= set(result.numbers) for result in results):
        section.plots.append(Plot(rate_distortion_plot(results), "PSNR over bits"))
    for one in worst:
        if one.samples:
            section.galleries[f"Worst of {one.model}"] = [
                Picture(
                    sample.picture,
                    f"{sample.name}: original and reconstruction",
                    f"{sample.name}: {sample.psnr:.2f} dB (left: original)",
                )
                for sample in one.samples
            ]
    section.appendices["The paper's figures"] = paper_table(kind, task == "reconstruction")
    return section


def _measured_by(results: list[Result]) -> str:
    """Says by which networks media were measured, and what guessing would have."""
    facts = [f"{name}: {said(about)}" for name, about in results[0].protocol["measured_by"].items()]
    found = results[0].numbers.get("chances", {})
    if found:
        facts.append("chance: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in found.items()))
    return "; ".join(facts) or "made only, by no measure"
