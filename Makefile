# `make run` serves sample mail on this machine; `make test` proves the product. docs/contributing.md has the rest.
PYTHON ?= python3
VENV := .venv
.PHONY: run test check bench clean
