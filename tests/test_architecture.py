"""The house rules of docs/architecture.md, read from the imports of every file."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL, PROCESSING, HEADERS = "atoken", "atoken.processing", "atoken_headers"
FLOOR_2 = ["atoken.pages", "atoken.tokenizing", "atoken.miniature", "atoken.generation", "atoken.mllm"]
# folder -> (its package, the packages that it may import)
ROOMS = {
    "headers": (HEADERS, []),
    "modeling_atoken": (MODEL, []),
    "processing": (PROCESSING, []),
    "generation": ("atoken.generation", []),
    "mllm": ("atoken.mllm", []),
    "pages": ("atoken.pages", [HEADERS, MODEL, PROCESSING]),
    "tokenizing": ("atoken.tokenizing", [HEADERS, MODEL, PROCESSING]),
    "miniature": ("atoken.miniature", [PROCESSING]),
    "evaluation": ("atoken.evaluation", [HEADERS, MODEL, PROCESSING, *FLOOR_2]),
    "training": ("atoken.training", [HEADERS, MODEL, PROCESSING, *FLOOR_2, "atoken.evaluation"]),
    "app": ("atoken_app", [HEADERS, MODEL, PROCESSING, *FLOOR_2, "atoken.evaluation"]),
}
COPIED_BY_THE_HUB = ("modeling_atoken", "processing", "generation", "mllm")
# Inside training: recipes -> subjects -> core, never back, never sideways.
TRAINING_SUBJECTS = ("tokenizer", "generators", "mllm")


@cache
def modules() -> dict[str, Path]:
    """Import name -> file, of all library code."""
    found = {}
    for folder, (package, _) in ROOMS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


@cache
def imports() -> list[tuple[str, str, bool]]:
    """(file, imported module or name in one, whether relative), of every import statement."""
    found = []
    for module, path in modules().items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found += [(name_of(path), alias.name, False) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*base, *([node.module] if node.module else [])])
                found += [(name_of(path), f"{source}.{alias.name}", node.level > 0) for alias in node.names]
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def file_of(imported: str) -> Path | None:
    """The file of ours that an imported name lies in."""
    return modules().get(imported) or modules().get(imported.rpartition(".")[0])


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def check(violations: set[str]) -> None:
    assert not violations, "\n".join(sorted(violations))


def test_a_room_imports_rooms_below_it():
    violations = set()
    for file, imported, relative in imports():
        target, room = file_of(imported), file.split("/")[0]
        if target is None:
            continue
        registration = file == "modeling_atoken/__init__.py" and room_of(target) == "processing"
        if room_of(target) != room and not registration:
            if ROOMS[room_of(target)][0] not in ROOMS[room][1]:
                violations.add(f"{file} -> {name_of(target)}: not below it")
            if relative:
                violations.add(f"{file} -> {name_of(target)}: relative, across packages")
        elif room_of(target) == room and not relative:
            violations.add(f"{file} -> {name_of(target)}: absolute, inside a package")
    check(violations)


def test_inside_training_recipes_import_subjects_and_subjects_the_core():
    def height(path: Path) -> int:
        inner = path.relative_to(ROOT / "training").parts[0]
        return 2 if inner == "recipes" else 1 if inner in TRAINING_SUBJECTS else 0

    violations = set()
    for file, imported, _ in imports():
        source, target = ROOT / file, file_of(imported)
        if target is None or room_of(source) != "training" or room_of(target) != "training":
            continue
        subjects = {path.relative_to(ROOT / "training").parts[0] for path in (source, target)}
        sideways = height(source) == height(target) == 1 and len(subjects) > 1
        if height(target) > height(source) or sideways:
            violations.add(f"{file} -> {name_of(target)}: back or sideways")
    check(violations)


def test_no_circles():
    arrows: dict[str, set[str]] = {}
    for file, imported, _ in imports():
        target = file_of(imported)
        if target is not None and name_of(target) != file:
            arrows.setdefault(file, set()).add(name_of(target))
    violations, done = set(), set()

    def follow(file: str, path: tuple[str, ...]) -> None:
        if file in path:
            violations.add(" -> ".join((*path[path.index(file) :], file)))
        elif file not in done:
            for target in sorted(arrows.get(file, ())):
                follow(target, (*path, file))
            done.add(file)

    for file in sorted(arrows):
        follow(file, ())
    check(violations)


def test_nothing_is_imported_by_a_string():
    violations = set()
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
                violations.add(f"{name_of(path)} imports by a string")
    check(violations)


def test_files_that_the_hub_copies_end_in_atoken_and_no_others():
    violations = set()
    for path in modules().values():
        flat = room_of(path) in COPIED_BY_THE_HUB
        if path.name != "__init__.py" and path.stem.endswith("_atoken") != flat:
            violations.add(f"{name_of(path)} is named as if it were {'not ' if flat else ''}copied")
        if flat and path.parent.parent != ROOT:
            violations.add(f"{name_of(path)} is not in a flat folder")
    check(violations)


def test_the_command_line_is_known_to_the_application_and_to_files_that_are_run_alone():
    violations = set()
    for file, imported, _ in imports():
        if imported.split(".")[0] in ("typer", "click", "rich", "tqdm") and not file.startswith("app/"):
            if 'if __name__ == "__main__":' not in (ROOT / file).read_text(encoding="utf-8"):
                violations.add(f"{file} imports {imported.split('.')[0]}")
    check(violations)


def test_every_package_is_a_room():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert folders <= set(ROOMS), f"not in the table: {folders - set(ROOMS)}"
