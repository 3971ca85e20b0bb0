# Every verb sets itself up: nothing but make and Python >= 3.11 has to be there.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3.14 python3.13 python3.12 python3.11 python3,$(shell command -v $(p) 2>/dev/null)))
BOOTSTRAP = $(if $(PYTHON),$(PYTHON) deploy/local/bootstrap.py,@echo "error: no Python found; install Python 3.11 or newer" >&2; exit 1;)
ORIGIN_PORT ?= 8080
BACKEND_URL ?=

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

run: ## start everything behind one origin: make run [ORIGIN_PORT=8080] [BACKEND_URL=http://host:port]
	@$(BOOTSTRAP) run
	@exec $(BIN)/python -m bff_local --port "$(ORIGIN_PORT)" --backend-url "$(BACKEND_URL)"

test: ## run every test
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m pytest $(ARGS)

lint: ## ruff, mypy strict, import directions, locks
	@$(BOOTSTRAP) dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python requirements/lock.py --check

format: ## rewrite the code in the project's format
	@$(BOOTSTRAP) dev
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

lock: ## resolve requirements/*.txt anew (make lock UPGRADE=1 takes newer versions)
	@$(BOOTSTRAP) dev
	@$(BIN)/python requirements/lock.py $(if $(UPGRADE),--upgrade)

bench: ## measure the project beside its peers in one run
	@$(BOOTSTRAP) bench
	@$(BIN)/python -m bench $(ARGS)

.PHONY: help run test lint format lock bench
