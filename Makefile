# Two commands for a fresh machine: `make demo` and `make test`. Each makes its own environment when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Pinned: the range that the package accepts may otherwise bring several GB of CUDA libraries to a machine without a GPU.
TORCH ?= torch==2.13.0
OUT := demo-output
# Seconds of CPU time per kind of input, for hours: make fuzz FUZZ_SECONDS=3600 SEED=$$(date +%s)
FUZZ_SECONDS ?= 60
# Each process takes a stretch of tests on end, so that what a file's tests share is made once, and helps out in the end.
# The panels have a call of their own: their host must be there before anything of the package is imported.
SHARED := -n $(or $(JOBS),2) --dist worksteal

.PHONY: demo test test-long lint types contracts check benchmark fuzz clean

demo: $(VENV)/base
	@mkdir -p $(OUT)
	@$(BIN)/modality-synthesis synthesize Resources/SampleData/sub-forrest_T1w.nii.gz --model demo-t1w-fdg \
		-o $(OUT)/sub-forrest_pet.nii.gz --preview $(OUT)/sub-forrest_pet.png --device cpu

# The panels' tests turn their process into the application, which other tests should not know.
test: $(VENV)/dev
	$(BIN)/python -m pytest $(SHARED) Testing/integration Testing/unit
	$(BIN)/python -m pytest $(SHARED) Testing/slicer

test-long: $(VENV)/dev
	$(BIN)/python -m pytest $(SHARED) -m long
	$(BIN)/python -m pytest $(SHARED) -m long Testing/slicer

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev
	$(BIN)/mypy

contracts: $(VENV)/dev
	$(BIN)/lint-imports

check: lint types contracts test

benchmark: $(VENV)/dev
	$(BIN)/python Testing/benchmarks/pipeline_cost.py

fuzz: $(VENV)/dev
	$(BIN)/python Testing/fuzz/fuzz.py run $(FUZZ_SECONDS) $(KINDS) --seed "$(SEED)" --keep fuzz-found

$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	@touch $@

$(VENV)/base: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/dev: $(VENV)/base
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) $(OUT) build dist
