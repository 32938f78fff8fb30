# Tidemill. `make help` lists the targets; CONTRIBUTING.md says when to use which.

# The first rule: nothing works without these, so say what is missing before anything else fails.
.PHONY: tools
tools:
	@deploy/tools.sh go make git

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# One way to compile, so that the binary, the tests and the tests' own builds share one cache:
# static, and without this machine's paths.
export CGO_ENABLED := 0
export GOFLAGS := $(GOFLAGS) -trimpath

GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
GOLANGCI := .tools/golangci-lint-$(GOLANGCI_VERSION)
GOVULNCHECK := .tools/govulncheck-$(GOVULNCHECK_VERSION)

# Packages whose tests run side by side: the servers of `make test` need the rest of two cores.
PARALLEL ?= 2
# How long each fuzz target runs, and which benchmarks do.
FUZZTIME ?= 10s
BENCH ?= .
# How many histories the simulation plays; a failing one prints its seed.
HISTORIES ?= 100000
# How long each pass of the fault tests takes, and what jobs and faults are drawn from.
DURATION ?= 5m
SEED ?=
# What the demo sends; KEEP=1 leaves it up until Ctrl-C.
EVENTS ?= 100000
KEEP ?=

# A version from git where there is a repository that git trusts, "(devel)" elsewhere.
VCS := $(shell git rev-parse --verify -q HEAD >/dev/null 2>&1 && echo true || echo false)

##@ Use
.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: tools ## Install what the real servers need (Java, Maven) and download them, once
	@deploy/setup.sh

# go build knows by itself what has changed.
.PHONY: build
build: tools ## Build bin/tidemill: one static binary, its version from git
	@go build -buildvcs=$(VCS) -ldflags='-s -w' -o bin/tidemill ./cmd/tidemill

.PHONY: demo
demo: build setup ## Run the whole way of the data on real servers and check its totals (EVENTS=100000 KEEP=1)
	@bin/tidemill demo --events $(EVENTS) $(if $(KEEP),--keep)

##@ Test
# Without CI in the environment, tests that need servers are skipped instead of failed.
.PHONY: unit
unit: tools ## Test everything that needs no server (under a minute, once built)
	@env -u CI -u TIDEMILL_TEST_RUN go test -p $(PARALLEL) ./...

.PHONY: test
test: build setup ## Test everything, with one stack of real servers (under ten minutes)
	@bin/tidemill stack run -- go test -p $(PARALLEL) -timeout 8m ./...

.PHONY: race
race: tools ## Test everything that needs no server under the race detector (needs a C compiler)
	@env -u CI -u TIDEMILL_TEST_RUN CGO_ENABLED=1 go test -race -p $(PARALLEL) ./...

.PHONY: fuzz
fuzz: tools ## Run each fuzz target for FUZZTIME (10s)
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z]*' . | sort | while IFS=: read -r file function; do \
		echo "fuzz: $${function#func } in $$(dirname $$file)"; \
		go test -run '^$$' -fuzz "^$${function#func }\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)"; \
	done

.PHONY: sim
sim: tools ## Simulate HISTORIES (100000) random histories of crashes, failovers and lost messages
	@go run ./internal/sim/simulate -histories $(HISTORIES)

.PHONY: faults
faults: tools setup ## Break a cluster of real processes for DURATION (5m) a pass, twice, and check what ran (SEED=n; needs root)
	@go build -o bin/faults ./internal/faults/inject
	@bin/faults -duration $(DURATION) $(if $(SEED),-seed $(SEED))

.PHONY: conformance
conformance: build setup ## Hold the Mesos adapters and the local Mesos against recordings of a real one
	@bin/tidemill stack run --no-kafka --no-cassandra --no-s3 -- \
		go test ./internal/mesos ./internal/mesoslocal -run '^TestConformance$$|^TestEveryRecording' -count 1 -v \
		| awk '/FAIL/ { print } \
			sub(/^.*conformance differs: /, "differs by design: ") { print } \
			sub(/^.*conformance: client /, "") { client = $$0; next } \
			sub(/^.*conformance: server /, "") { server = $$0; next } \
			END { print "conformance: client " client ", server " server }'

.PHONY: bench
bench: build setup ## Run the benchmarks that match BENCH; all of them write docs/benchmarks.md (ten minutes)
	@bin/tidemill stack run -- go run ./internal/measure -bench '$(BENCH)'

##@ Check
.PHONY: check
check: test lint ## What CI runs: test and lint

.PHONY: lint
lint: tools $(GOLANGCI) ## Check format, go vet and golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
		[ -z "$$unformatted" ] || { echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; }
	@go vet ./...
	@go vet -tags faults ./cmd/tidemill
	@$(GOLANGCI) run

.PHONY: fmt
fmt: tools ## Format the code
	@gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')

.PHONY: vuln
vuln: tools $(GOVULNCHECK) ## Look for known vulnerabilities in what is called
	@$(GOVULNCHECK) ./... || { status=$$?; \
		[ $$status = 3 ] || echo "vuln: no answer from the vulnerability database; is it out of reach? (GOVULNDB names another)"; \
		exit $$status; }

# Pinned tools, installed when absent; another version is another file.
$(GOLANGCI):
	@echo "installing golangci-lint $(GOLANGCI_VERSION) (once, about a minute)"
	@GOBIN=$(CURDIR)/.tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv .tools/golangci-lint $@

$(GOVULNCHECK):
	@echo "installing govulncheck $(GOVULNCHECK_VERSION) (once)"
	@GOBIN=$(CURDIR)/.tools go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@mv .tools/govulncheck $@
