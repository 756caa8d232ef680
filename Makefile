# `make` alone lists what there is.

# As cargo has it.
TARGET := $(or $(CARGO_TARGET_DIR),target)
PREFIX ?= /usr/local
# Where zsh looks for completions, under PREFIX.
ZSH ?= share/zsh/site-functions
IMAGE ?= token-sidecar
# What `docker` is called: any engine that understands `build`. Podman's own format of images has no HEALTHCHECK.
DOCKER ?= docker
# For what takes arguments: `make run ARGS=doctor`, `make test ARGS='--test redis'`.
ARGS ?=

# Not the advisories: their database would have to be reached.
DENY = $(TARGET)/lint/bin/cargo-deny --workspace --locked --log-level error check bans licenses sources

BINARY = $(TARGET)/release/token-sidecar
SCRIPTS = .ci/run bench/check clients/examples/gateway.sh clients/examples/next_token.sh clients/node/check \
    clients/python/check compose/browser/start fuzz/instrument scripts/as-test scripts/chaos scripts/containers \
    scripts/demo scripts/engine scripts/fuzz scripts/kubernetes scripts/languages scripts/other-redis scripts/packages \
    scripts/pin scripts/real-flaresolverr scripts/release-notes scripts/session scripts/setup scripts/simulation \
    scripts/test scripts/venv tests/page/check

.DEFAULT_GOAL := help
.PHONY: help demo test bench budget simulation chaos fuzz containers lint check build run simulator release install install-files uninstall docker-image clean

help: ## This list
	@echo 'make TARGET [ARGS=…]'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1 \2/p' $(MAKEFILE_LIST) | while read -r name text; do \
	    printf '  %-14s%s\n' "$$name" "$$text"; done

demo: ## See what the sidecar does, in under a minute after the build; leaves nothing behind
	@scripts/setup demo
	@cargo build --locked -p token-sidecar -p token-sidecar-simulator
	@scripts/demo $(ARGS)

test: ## Run every test; ARGS=quick those that need only Rust and Redis, other ARGS go to cargo test
	@scripts/test $(ARGS)

bench: ## Measure what the sidecar costs, beside the floor, Celery, Redis alone and nginx; ARGS='--quick idle' chooses
	@scripts/setup bench
	cargo build --release --locked -p token-sidecar -p token-sidecar-bench -p token-sidecar-simulator
	@$(TARGET)/release/token-sidecar-bench run --sidecar $(BINARY) --python "$$(bench/check build)" $(ARGS)

budget: ## Check counts that do not depend on the machine (commands, bytes, dependencies) against bench/budget.toml
	@scripts/setup test
	@cargo build --release --locked -p token-sidecar -p token-sidecar-bench
	@$(TARGET)/release/token-sidecar-bench budget --sidecar $(BINARY)

simulation: ## Tell 100,000 stories of sidecars and everything that breaks; ARGS='--seeds N' or '--seed N' chooses
	@scripts/setup build
	@scripts/simulation $(ARGS)

chaos: ## Run real sidecars and parsers while everything around them fails; ARGS='--seconds 600 --seed 7' chooses
	@scripts/setup test
	@scripts/chaos $(ARGS)

fuzz: ## Feed all that is read with hostile input, for a minute a target; ARGS='--seconds 3600 TARGET' chooses
	@scripts/setup build
	@scripts/fuzz $(ARGS)

containers: ## Build the images and run the compose files in containers; ARGS=FOLDER keeps an engine of our own there
	@scripts/setup containers
	@scripts/containers $(ARGS)

lint: ## Formatting, clippy with warnings as errors; the scripts and the dependencies (shellcheck, hadolint, actionlint, cargo-deny if installed)
	@scripts/setup build
	@cargo fmt --version >/dev/null 2>&1 || { echo 'lint: rustfmt is missing: rustup component add rustfmt' >&2; exit 1; }
	@cargo clippy --version >/dev/null 2>&1 || { echo 'lint: clippy is missing: rustup component add clippy' >&2; exit 1; }
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --test simulation --locked -- -D warnings
	@if command -v shellcheck >/dev/null; then echo shellcheck $(SCRIPTS); shellcheck $(SCRIPTS); fi
	@if [ -x $(TARGET)/lint/bin/hadolint ]; then echo hadolint sidecar.Dockerfile; $(TARGET)/lint/bin/hadolint sidecar.Dockerfile; fi
	@actionlint=$$(scripts/languages actionlint); if [ -e "$$actionlint" ]; then echo actionlint; \
	    scripts/languages node "$$actionlint" '.github/workflows/*.yml'; fi
	@if [ -x $(TARGET)/lint/bin/cargo-deny ]; then $(DENY); fi

check: lint test ## What a submission must pass: lint and test

build: ## Build everything, for debugging
	@scripts/setup build
	cargo build --locked --workspace

run: ## Run the sidecar with the settings of the environment and .env; ARGS is another command
	@scripts/setup build
	cargo run --locked -p token-sidecar -- $(ARGS)

simulator: ## Run the simulator, to write a parser against; ARGS=--help tells the rest
	@scripts/setup build
	cargo run --locked -p token-sidecar-simulator -- $(ARGS)

release: ## Build the small, fast binary
	@scripts/setup build
	TOKEN_SIDECAR_COMMIT='$(shell git rev-parse HEAD 2>/dev/null)' cargo build --release --locked -p token-sidecar

install: ## Install the binary, its manual, completions and a unit for systemd under PREFIX (/usr/local)
	@if command -v cargo >/dev/null; then $(MAKE) --no-print-directory release; \
	    elif [ ! -x $(BINARY) ]; then echo 'install: no cargo here: run make release first' >&2; exit 1; fi
	@$(MAKE) --no-print-directory install-files

install-files:
	install -Dm755 $(BINARY) '$(DESTDIR)$(PREFIX)/bin/token-sidecar'
	umask 022 && mkdir -p '$(DESTDIR)$(PREFIX)/share/man/man1' && \
	    $(BINARY) man --write '$(DESTDIR)$(PREFIX)/share/man/man1'
	$(BINARY) completions bash | install -Dm644 /dev/stdin '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/token-sidecar'
	$(BINARY) completions zsh | install -Dm644 /dev/stdin '$(DESTDIR)$(PREFIX)/$(ZSH)/_token-sidecar'
	$(BINARY) completions fish | install -Dm644 /dev/stdin '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/token-sidecar.fish'
	sed 's,/usr/bin/token-sidecar,$(PREFIX)/bin/token-sidecar,' deploy/systemd/token-sidecar.service | \
	    install -Dm644 /dev/stdin '$(DESTDIR)$(PREFIX)/lib/systemd/system/token-sidecar.service'

uninstall: ## Remove what install has installed
	cd '$(DESTDIR)$(PREFIX)' && rm -f bin/token-sidecar share/man/man1/token-sidecar.1 share/man/man1/token-sidecar-*.1 \
	    share/bash-completion/completions/token-sidecar $(ZSH)/_token-sidecar \
	    share/fish/vendor_completions.d/token-sidecar.fish lib/systemd/system/token-sidecar.service

docker-image: ## Build the image IMAGE (token-sidecar) with DOCKER (docker)
	@$(DOCKER) info >/dev/null 2>&1 || { echo 'docker-image: $(DOCKER) has no engine to build with' \
	    '(is it installed and running, and may you use it?); another one: make docker-image DOCKER=podman' >&2; exit 1; }
	$(DOCKER) build $(if $(findstring podman,$(DOCKER)),--format docker) -f sidecar.Dockerfile -t $(IMAGE) \
	    --build-arg REVISION='$(shell git rev-parse HEAD 2>/dev/null)' \
	    --build-arg SOURCE='$(shell git remote get-url origin 2>/dev/null | sed 's,//[^/@]*@,//,')' \
	    --build-arg CREATED="$$(date -u +%FT%TZ)" .

clean: ## Remove what was built
	cargo clean
