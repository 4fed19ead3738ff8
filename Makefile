# The few targets that people type. `make` and `make test` need Go and make, and nothing else.

BIN    := bin
GO     ?= go
# For `make fuzz` and `make bench`: how long each target runs.
FUZZTIME  ?= 10s
BENCHTIME ?= 1s
# Packages for lint, test and bench; `make test PACKAGES=./reconcile/...` narrows them.
PACKAGES ?= ./...
# More flags for `make test`, such as -v or -p=1.
TESTFLAGS ?=
# The packages of `make test` and `make bench`: all but the nodes with real OpenZFS, which have targets of their own.
TESTED = $(shell $(GO) list $(PACKAGES) | grep -v /test/openzfs)

# The race detector needs cgo, and cgo a C compiler; Go itself says whether it found one.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)

.DEFAULT_GOAL := build
.PHONY: build demo test test-openzfs test-openzfs-quick bench-openzfs faults lint bench fuzz vuln deps clean help

build: ## build bin/drover, and what the lab needs: bin/lab/zfs, bin/lab/zpool, bin/lab/todo
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/drover ./cmd/drover
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/lab/zfs ./lab/cmd/zfs
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/lab/todo ./lab/cmd/todo
	ln -sf zfs $(BIN)/lab/zpool

demo: build ## watch a to-do app move with its data; no root, no ZFS, no Marathon; under a minute
	$(BIN)/drover demo

test: ## the tests, with the race detector where there is a C compiler
ifeq ($(RACE),)
	@echo 'NO C COMPILER: the tests run WITHOUT the race detector. Install gcc or clang to have it.' >&2
endif
	$(GO) test $(RACE) -short -timeout 15m $(TESTFLAGS) $(TESTED)

faults: ## the sweeps that kill the controller at every step of a move; minutes
	$(GO) test $(RACE) -count=1 -timeout 30m ./test/acceptance/...

test-openzfs-quick: ## a part of them: both releases' conformance, moves, some power cuts; a quarter of an hour on two quiet cores
	hack/openzfs/build.sh all || [ $$? = 3 ] # it cannot be had here, and the tests say so
	$(GO) test -count=1 -timeout 45m ./test/openzfs

test-openzfs: ## all tests on real OpenZFS 2.3 and 2.1, on kernels of their own (Debian, root); hours, with 100 power cuts
	hack/openzfs/build.sh all || [ $$? = 3 ] # it cannot be had here, and the tests say so
	DROVER_TEST_OPENZFS=all $(GO) test -count=1 -timeout 5h ./test/openzfs

bench-openzfs: ## Drover beside zfs send, netcat and syncoid on real OpenZFS; writes docs/openzfs-figures.md
	hack/openzfs/build.sh && hack/openzfs/tools.sh
	hack/openzfs/figures.sh docs/openzfs-figures.md

lint: $(BIN)/tools/golangci-lint ## vet for Linux and macOS, and the linters of .golangci.yml
	GOOS=linux CGO_ENABLED=0 $(GO) vet $(PACKAGES)
	GOOS=darwin CGO_ENABLED=0 $(GO) vet $(PACKAGES)
	$(BIN)/tools/golangci-lint run --allow-parallel-runners $(PACKAGES)

bench: ## every benchmark; compare two outputs with bin/tools/benchstat OLD NEW
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(TESTED)

fuzz: ## every fuzz target, FUZZTIME each (default 10s)
	GO='$(GO)' hack/fuzz.sh $(FUZZTIME)

vuln: $(BIN)/tools/govulncheck ## known vulnerabilities in what the program really calls
	hack/vuln.sh $(BIN)/tools/govulncheck

deps: ## install what some tests use beyond Go, on Debian, as root: make deps GROUPS="browser database"
	hack/deps.sh $(GROUPS)

clean: ## remove what was built
	rm -rf $(BIN)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The tools have a module of their own, so that their hundreds of dependencies stay out of the product's.
$(BIN)/tools/golangci-lint: PKG := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(BIN)/tools/govulncheck:   PKG := golang.org/x/vuln/cmd/govulncheck
$(BIN)/tools/benchstat:     PKG := golang.org/x/perf/cmd/benchstat
$(BIN)/tools/%: hack/tools/go.mod hack/tools/go.sum
	CGO_ENABLED=0 $(GO) build -C hack/tools -o $(CURDIR)/$@ $(PKG)
	@touch $@
