# Everything here works from an empty HOME and an empty Go cache, as root and as any user. `make` alone says what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Go's usual place, for a PATH that lacks it (sudo, su, cron).
export PATH := $(PATH):/usr/local/go/bin

# Without a writable HOME the Go caches live in the tree, where ./... does not look.
HOME_USABLE := $(shell [ -d "$${HOME:-}" ] && [ -w "$$HOME" ] && echo yes)
ifneq ($(HOME_USABLE),yes)
export GOCACHE ?= $(CURDIR)/.tools/cache/build
export GOPATH ?= $(CURDIR)/.tools/cache/go
export GOLANGCI_LINT_CACHE ?= $(CURDIR)/.tools/cache/golangci-lint
export GOFLAGS += -modcacherw
endif
# The version comes from git describe below. Without this flag Go asks git itself and fails where .git is not ours.
export GOFLAGS += -buildvcs=false

GOLANGCI_VERSION := v2.15.0
GOLANGCI := .tools/bin/golangci-lint
MODULE := github.com/tenure-dev/tenure
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Packages to work on, separated by spaces: make test PKGS=./domain/...
PKGS ?= ./...
# Packages tested at a time. Each may run a Postgres of its own, so more cores do not mean more of them.
TEST_P ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$(( n < 4 ? n : 4 )))
# Tests of a package at once. Most wait for a process, a database or a time to pass, so there are more of them than cores.
TEST_PARALLEL ?= $(shell echo $$(( 2 * $(TEST_P) )))
TEST_FLAGS ?= -count=1 -timeout=40m
FUZZTIME ?= 10s
BENCH ?= .
BENCH_FLAGS ?=
RACE_COUNT ?= 5

.PHONY: help
help: ## This list
	@echo "Tenure. To run it: make demo, make test. Go 1.26 is all you need to install."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Settings: PKGS=./domain/... TEST_FLAGS='-count=1 -run X' FUZZTIME=1m BENCH=append RACE_COUNT=20"

.PHONY: need-go
need-go:
	@.ci/need-go

.PHONY: setup
setup: need-go ## Install what is missing on Debian (Postgres, a C compiler); nothing if all is there
	@.ci/setup

.PHONY: build
build: need-go ## Write bin/tenure
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/tenure ./cmd/tenure

.PHONY: demo
demo: setup build ## See it work: an engine, a lease, a command, the history, in under a minute
	@mkdir -p build
	@CGO_ENABLED=0 go build -o build/demo ./cmd/internal/demo
	@build/demo -bin bin/tenure </dev/null

.PHONY: test
test: setup ## All tests with the race detector; writes build/test.json and ends with the counts
	@mkdir -p build
	@CGO_ENABLED=0 go build -o build/testrun ./cmd/internal/devtool/testrun
	@build/testrun -json build/test.json -packages '$(PKGS)' -- -race -p=$(TEST_P) -parallel=$(TEST_PARALLEL) $(TEST_FLAGS) </dev/null

.PHONY: race
race: setup ## Stress: every test RACE_COUNT times in random order with the race detector
	go test -race -shuffle=on -count=$(RACE_COUNT) -p=$(TEST_P) -timeout=30m $$(.ci/packages $(PKGS)) </dev/null

.PHONY: lint
lint: need-go $(GOLANGCI) tidy-check ## Format, vet, golangci-lint (pinned), go.mod
	$(GOLANGCI) fmt --diff
	go vet $(PKGS)
	$(GOLANGCI) run $(PKGS)
	go mod verify

.PHONY: fuzz
fuzz: setup ## Run every Fuzz target for FUZZTIME
	@FUZZTIME=$(FUZZTIME) .ci/fuzz $(PKGS) </dev/null

# Seeds of the simulation, and the first one.
SEEDS ?= 5000

.PHONY: sim
sim: need-go ## Engines under faults in virtual time, SEEDS=5000 stories from SEED=1 on; SEED=N SEEDS=1 replays one
	@mkdir -p build
	@go build -o build/simulate ./cmd/internal/sim/simulate
	@build/simulate -first '$(or $(SEED),1)' -seeds '$(SEEDS)' </dev/null

.PHONY: sim-mutants
sim-mutants: need-go ## Plant bugs in the engine's sources (not in the tree), and see that the simulation finds each
	@mkdir -p build
	@go build -o build/simulate ./cmd/internal/sim/simulate
	@build/simulate -mutants </dev/null

.PHONY: bench
bench: setup ## Measure against floors of the same run what matches BENCH; writes build/bench.json (BENCH_FLAGS='-rounds 3')
	@mkdir -p build
	@CGO_ENABLED=0 go build -o build/bench ./cmd/internal/bench
	@build/bench -run '$(BENCH)' -json build/bench.json $(BENCH_FLAGS) </dev/null

# What make chaos does: for how long, by which plan, to how many processes. An empty SEED takes one of the time, and says it.
DURATION ?= 60s
SEED ?=
API ?= 3
WORKERS ?= 3
FAULTS ?= all
CHAOS_FLAGS ?=

.PHONY: chaos
chaos: setup ## Break everything around real processes for DURATION=60s, and check what was promised; writes build/chaos.json (SEED, API, WORKERS, FAULTS)
	@mkdir -p build
	@CGO_ENABLED=0 go build -tags faults -o build/tenure-faults ./cmd/tenure
	@CGO_ENABLED=0 go build -o build/chaosrun ./cmd/internal/chaos
	@build/chaosrun -bin build/tenure-faults -out build/chaos -duration '$(DURATION)' -seed '$(or $(SEED),0)' -api '$(API)' -workers '$(WORKERS)' -faults '$(FAULTS)' $(CHAOS_FLAGS) </dev/null

.PHONY: generate
generate: need-go ## Write generated code
	go generate ./...

.PHONY: verify
verify: need-go tidy-check ## Generated code, go.mod, OpenAPI, import table and CHANGELOG are true
	@.ci/verify

.PHONY: tidy-check
tidy-check: need-go
	go mod tidy -diff

.PHONY: clean
clean: ## Remove what was built; tools and caches in .tools stay
	rm -rf bin build

# The file's own version decides, so a new pin replaces an old tool. .ci/lint-tool does nothing when it fits.
.PHONY: $(GOLANGCI)
$(GOLANGCI): need-go
	@.ci/lint-tool $(GOLANGCI_VERSION) $(GOLANGCI)
