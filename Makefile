# `make run` serves sample mail from this machine, `make test` proves the product; docs/contributing.md has the rest.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check -q install

.PHONY: run test check bench lock clean

run: $(VENV)/.run ; @exec $(VENV)/bin/pop3-bridge dev $(ARGS)
test: $(VENV)/.test ; $(VENV)/bin/python -m pytest $(ARGS)
check: $(VENV)/.test ; $(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check . && $(VENV)/bin/mypy && $(VENV)/bin/python -m pytest $(ARGS)
bench: $(VENV)/.test ; $(VENV)/bin/python -m benchmarks $(ARGS)
lock: $(VENV)/.test ; sh requirements/lock
clean: ; rm -rf $(VENV) $(VENV)-seed .state

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "Making the virtual environment $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m pip -q install --target $(VENV)-seed virtualenv && PYTHONPATH=$(VENV)-seed $(PYTHON) -m virtualenv -q $(VENV); }

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing what pop3-bridge needs (about 250 MB, once) ..."
	@$(PIP) -r requirements/run.txt
	@$(PIP) --no-deps -e .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	@echo "Installing what the tests need ..."
	@$(PIP) -r requirements/test.txt
	@touch $@
