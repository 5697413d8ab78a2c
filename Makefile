# demo, test, bench, lint. Needs cargo, python3 and make; honours CARGO_TARGET_DIR.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.PHONY: demo test test-rust test-docs test-system bench lint lint-format lint-clippy lint-tidy lint-deny

TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV ?= .venv
PYTHON ?= python3
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

# A year of real data through the whole loop.
demo: $(VENV)/.stamp
	cargo build -p trimtab
	"$(TARGET)/debug/trimtab" demo --python "$(abspath $(VENV))/bin/python"

# Everything that must hold. One profile with the demo, so that a newcomer compiles once.
test: test-rust test-docs test-system

test-rust:
	@if ! cargo nextest --version >/dev/null 2>&1; then echo "== cargo-nextest is not there: installing it"; cargo install --locked cargo-nextest || true; fi
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace; else \
		echo "== cargo-nextest COULD NOT BE INSTALLED: falling back to cargo test, without its time limits"; cargo test --workspace --lib --bins --tests; fi

test-docs:
	cargo test --workspace --doc

test-system: $(VENV)/.stamp
	cargo build --workspace --bins --example story
	tests/run.sh "$(TARGET)/debug" "$(VENV)/bin/python"

# Ratios to the peers, on this machine, in one run. Benches build their own profile.
bench: $(VENV)/.bench $(VENV)-mlserver/.stamp
	cargo build --release -p asof --example asof_bench
	"$(VENV)/bin/python" bench/asof_peers.py --bench "$(TARGET)/release/examples/asof_bench"
	cargo run --release -p back-sqlite --example log_batch_bench
	cargo run --release -p back-sqlite --example search_bench
	cargo build --release -p trimtab
	"$(VENV)/bin/python" bench/serving_peers.py --trimtab "$(TARGET)/release/trimtab" --mlserver "$(VENV)-mlserver/bin/python"
	"$(VENV)/bin/python" bench/tracking_peers.py --trimtab "$(TARGET)/release/trimtab"
	"$(VENV)/bin/python" bench/pipelines_peers.py --trimtab "$(TARGET)/release/trimtab"

lint: lint-format lint-clippy lint-tidy lint-deny

lint-format:
	cargo fmt --all --check

lint-clippy:
	cargo clippy --workspace --all-targets --all-features -- -D warnings

lint-tidy:
	cargo xtask tidy --check

# Advisories need a data base from elsewhere and change without us: they are no part of a change's lint.
lint-deny:
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check licenses bans sources; else \
		echo "== cargo-deny IS NOT INSTALLED: licences, bans and sources were NOT checked (cargo install --locked cargo-deny)"; fi

$(VENV)/bin/python:
	@$(PYTHON) -m venv "$(VENV)" || { echo "== $(PYTHON) -m venv does not work here: install Debian's python3-venv, or set PYTHON"; exit 1; }

$(VENV)/.stamp: python/requirements-test.txt | $(VENV)/bin/python
	$(PIP) -r $<
	@touch $@

$(VENV)/.bench: bench/requirements.txt | $(VENV)/bin/python
	$(PIP) -r $<
	@touch $@

# A peer whose packages do not go with the others'; without it the bench says that it is not compared.
$(VENV)-mlserver/.stamp:
	@$(PYTHON) -m venv "$(VENV)-mlserver" && "$(VENV)-mlserver/bin/python" -m pip install --quiet --disable-pip-version-check mlserver==1.7.1 mlserver-sklearn==1.7.1 \
		|| echo "== MLServer COULD NOT BE INSTALLED: it will not be compared"
	@touch $@
