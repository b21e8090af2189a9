# Uses the active virtual environment, or .venv.
export PATH := $(or $(VIRTUAL_ENV),$(CURDIR)/.venv)/bin:$(PATH)

.PHONY: test-fast test docs lint

test-fast:  ## unit tests without Docker and torch, in less than 90 s
	OMP_NUM_THREADS=1 pytest tests/unit -m "not slow" -n 2 --dist loadgroup --no-loadscope-reorder

test:  ## everything: checks, documentation and all tests; installs what is missing
	bash tests/run

docs:  ## the documentation site, in site/
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

lint:  ## style and types
	ruff check .
	ruff format --check .
	mypy
