# Every verb sets itself up: nothing but make and Python >= 3.11 has to be there.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
# The first Python that runs and is new enough; a name on the PATH may be a shim with nothing behind it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
BOOTSTRAP = $(if $(PYTHON),$(PYTHON) tools/bootstrap.py,echo "error: no Python 3.11 or newer found" >&2; exit 1;)
ORIGIN_PORT ?= 8080
BACKEND_URL ?=
FRONTEND_DIR ?=
SOAK ?= 600
MINUTES ?= 10
# How long a roll-out watches the alerts that Prometheus (NAMESPACE/SERVICE:PORT) has, in seconds.
WATCH ?= 300
ALERTS ?=
HOST ?= localhost
TLS_PORT ?= 8443
SYMBOLS ?=
URL ?= http://localhost:$(ORIGIN_PORT)
PYTEST = $(BIN)/python -m pytest --durations=10 --durations-min=0.5
# A file at a time on each worker; how many there are, tests/conftest.py says.
PARALLEL = -n auto --dist loadfile --no-loadscope-reorder
VITEST = $(BIN)/python tools/frontend.py run run test
# pytest's status where nothing fits what was asked for.
NONE = { status=$$?; [ $$status -eq 5 ]; }
# Three whole stacks and browsers on two cores miss deadlines that one meets: what failed (status 1) is tried once more,
# alone, and has failed if it fails again. Quick tests are where CI is set: a machine of its own is not to be had there.
LAST_FAILED = echo "failed beside others; once more, alone:" && $(PYTEST) --last-failed --last-failed-no-failures none
AGAIN = { [ $$status -eq 1 ] && $(LAST_FAILED) -m "slow and not timing"; }
QUICK_AGAIN = $(if $(CI),if [ $$services -eq 1 ]; then $(LAST_FAILED) -m "not slow"; services=$$?; fi;)

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

run: ## start everything behind one origin: make run [ORIGIN_PORT=8080] [BACKEND_URL=http://host:port] [TLS=1 [TLS_PORT=8443]] [FRONTEND_DIR=dist]
	@$(BOOTSTRAP) run
	@$(if $(FRONTEND_DIR),,$(BIN)/python tools/page.py)
	@$(if $(TLS),$(MAKE) --no-print-directory certificate)
	@exec $(BIN)/python -m bff_tools --port "$(ORIGIN_PORT)" --backend-url "$(BACKEND_URL)" $(if $(TLS),--tls-port "$(TLS_PORT)")

dev: ## serve the page with hot reload in front of a running make run: make dev [ORIGIN_PORT=8080]
	@$(BOOTSTRAP) dev
	@$(BIN)/python tools/frontend.py install
	@ORIGIN_PORT="$(ORIGIN_PORT)" $(BIN)/python tools/frontend.py run run dev --workspace bff-dashboard

trace: ## show a request's way through the logs of make run: make trace ID=…
	@$(BOOTSTRAP) run
	@$(BIN)/python -m bff_tools.trace "$(ID)"

doctor: ## look at a deployment from outside, and say what is wrong and what to do: make doctor URL=https://app.example
	@$(BOOTSTRAP) run
	@$(BIN)/python -m bff_tools.doctor "$(URL)"

warm: ## have charts fetched before anybody asks: AUTHORIZATION="Bearer …" make warm URL=https://app.example SYMBOLS=AAPL,MSFT
	@$(BOOTSTRAP) run
	@$(BIN)/python -m bff_tools.warm "$(URL)" "$(SYMBOLS)"

test: ## run every quick test, the frontend's too: make test [ARGS="tests/proxy -x"]
	@$(BOOTSTRAP) dev
ifeq ($(ARGS),)
	@log=$$(mktemp); $(VITEST) >"$$log" 2>&1 & page=$$!; trap 'kill $$page' INT TERM; \
		$(PYTEST) -m "not slow" $(PARALLEL) $(COVER); services=$$?; $(QUICK_AGAIN) \
		wait $$page; page=$$?; cat "$$log"; rm -f "$$log"; exit $$((services | page))
else
	@$(PYTEST) -m "not slow" $(PARALLEL) $(COVER) $(ARGS)
endif

test-slow: ## run what `make test` leaves out: browser, whole stacks, faults, hostile clients
	@$(BOOTSTRAP) dev
	@$(PYTEST) -m "slow and not timing" $(PARALLEL) $(ARGS) || $(NONE) || $(AGAIN)
	@$(PYTEST) -m timing $(ARGS) || $(NONE)

test-all: ## run every test, and tell which branches of services, library, client and page no quick one took
	@rm -f .coverage
	@$(MAKE) --no-print-directory test COVER="--cov --cov-report=" VITEST="$(VITEST) -- --coverage"
	@$(MAKE) --no-print-directory test-slow
	@$(BIN)/coverage report

test-tools: ## install what some tests need of Debian (root or sudo); without it they are skipped
	@.ci/test-tools

lint: ## ruff, mypy strict, import directions, locks, frontend, manifests, workflows
	@$(BOOTSTRAP) dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python requirements/lock.py --check
	@$(BIN)/python tools/frontend.py lint
	@$(BIN)/python -m deploy.k8s.check
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

format: ## rewrite the code in the project's format
	@$(BOOTSTRAP) dev
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .
	@$(BIN)/python tools/frontend.py run run format

lock: ## resolve requirements/*.txt anew (make lock UPGRADE=1 takes newer versions)
	@$(BOOTSTRAP) dev
	@$(BIN)/python requirements/lock.py $(if $(UPGRADE),--upgrade)

docs: ## write what is made from code: tables of settings, metrics and early closes, OpenAPI, the types of the client
	@$(BOOTSTRAP) dev
	@$(BIN)/python docs/settings_table.py
	@$(BIN)/python docs/metrics_table.py
	@$(BIN)/python docs/openapi.py
	@$(BIN)/python docs/early_closes.py
	@$(BIN)/python tools/frontend.py run run generate

audit: ## look for known vulnerabilities in everything that the locks name
	@$(BOOTSTRAP) audit
	@for lock in requirements/*.txt; do echo "$$lock"; \
		$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r "$$lock" || exit 1; done
	@if [ -e frontend/package-lock.json ]; then echo frontend/package-lock.json; \
		npm --prefix frontend audit --audit-level=moderate; fi

frontend: ## check, test and build the client and the page
	@$(BOOTSTRAP) dev
	@$(BIN)/python tools/frontend.py lint
	@$(BIN)/python tools/frontend.py run run test
	@$(BIN)/python tools/frontend.py build

image: ## build one image: make image SERVICE=proxy IMAGE=registry/bff-proxy:tag [PUSH=yes]
	@mkdir -p .local
	@docker buildx bake --file docker-compose.yml --set "$(SERVICE).tags=$(IMAGE)" --metadata-file .local/image.json \
		--provenance=mode=max --sbom=true $(if $(PUSH),--push) "$(SERVICE)"

release: ## version, changelog and tag of one part: make release SERVICE=proxy VERSION=0.3.0 [DRY_RUN=1]
	@$(PYTHON) -m deploy.release $(if $(DRY_RUN),--dry-run) "$(SERVICE)" "$(VERSION)"

publish: ## make the release of a tag, as the workflow does: make publish TAG=proxy-0.3.0
	@$(PYTHON) -m deploy.publish "$(TAG)"

certificate: ## make a self-signed certificate for make run TLS=1 and docker compose --profile tls: make certificate [HOST=localhost]
	@mkdir -p .local/tls
	@openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$(HOST)" -addext "subjectAltName=DNS:$(HOST)" \
		-keyout .local/tls/tls.key -out .local/tls/tls.crt 2>/dev/null && chmod 0644 .local/tls/tls.key && echo "made .local/tls/tls.crt for $(HOST)"

deploy: ## roll one service out: make deploy SERVICE=proxy ENVIRONMENT=staging IMAGE=registry/bff-proxy@sha256:… [ALERTS=monitoring/prometheus-operated:9090]
	@$(BOOTSTRAP) deploy
	@$(BIN)/python -m deploy.k8s.rollout "$(ENVIRONMENT)" "$(SERVICE)" "$(IMAGE)" --alerts "$(ALERTS)" --watch $(WATCH)

plan: ## print the images that production may run now, by what GitHub and the registry say
	@$(PYTHON) -m deploy.pipeline plan

head: ## fail unless the commit that is checked out is the head of main
	@$(PYTHON) -m deploy.pipeline head

fuzz: ## search at random for what no test says yet: make fuzz [MINUTES=10] [TARGET=http] [SEED=…]
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(TARGET) $(if $(SEED),--seed $(SEED))

mutants: ## which changes of the code does no test notice: make mutants [MODULES="bff_shared.http.headers"]; writes the table
	@$(BOOTSTRAP) dev
	@$(BIN)/python -m tests.mutation.run --write $(MODULES)

chaos: ## every fault and every attack in full; REPORT=1 writes what was seen into docs/reliability.md
	@$(BOOTSTRAP) dev
	@CHAOS=all CHAOS_REPORT=$(if $(REPORT),docs/reliability.md) $(PYTEST) tests/chaos $(ARGS)

soak: ## steady mixed load: make soak [SOAK=600], in seconds
	@$(BOOTSTRAP) dev
	@SOAK=$(SOAK) $(BIN)/python -m pytest -s tests/chaos/test_soak.py $(ARGS)

bench: ## measure the project beside its peers: make bench [ARGS=essentials [BEFORE=../other-checkout]]
	@$(BOOTSTRAP) bench
	@$(BIN)/python -m bench $(ARGS)

bench-compare: ## hold the latest measurements against the stored ones: make bench-compare [ARGS="before.json after.json"]
	@$(BOOTSTRAP) bench
	@$(BIN)/python -m bench.compare $(ARGS)

.PHONY: help run dev trace doctor warm test test-slow test-all fuzz mutants test-tools lint format lock docs audit frontend image release publish certificate deploy plan head chaos soak bench bench-compare
