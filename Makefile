# Uses the active virtual environment, or .venv.
export PATH := $(or $(VIRTUAL_ENV),$(CURDIR)/.venv)/bin:$(PATH)

.PHONY: test-fast test docs lint lock

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

# Versions and hashes of all packages, without addresses. A version that is in a lock stays while pyproject.toml allows it.
# The tests' lock is for every system and Python 3.11 or later. The image's is for its Python 3.11 on Linux, whose packages are
# the same on x86_64 and arm64, and keeps to the versions of the tests' lock.
compile = UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --generate-hashes --no-emit-index-url --python-version 3.11 $(ARGS)

lock:  ## the locks, from pyproject.toml; ARGS=--upgrade takes the newest versions
	$(compile) --universal --extra test --extra docs pyproject.toml -o tests/requirements.txt
	echo uv | $(compile) -c tests/requirements.txt - -o tests/uv.txt
	echo 'opensearch-py>=2.8,<3' | $(compile) --no-deps - -o tests/integration/opensearch-py-2.txt
	$(compile) --python-platform x86_64-manylinux_2_36 -c tests/requirements.txt --extra opensearch pyproject.toml -o docker/service/requirements.txt
	$(compile) --universal -c tests/requirements.txt --group image -o docker/service/tools.txt
