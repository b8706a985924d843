# Tocsin. `make help` lists the targets; all of them need Go, and only `race` needs a C compiler.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PROGRAMS := authsvc/cmd/authsvc authsvc/cmd/authctl resourcesvc forwardauth
# Every module of the workspace, as a pattern of all its packages.
PACKAGES ?= $(shell $(GO) list -m -f '{{.Path}}/...')
# Where goroutines meet; what `make race` runs.
# A pattern ends at a nested module, so they are named.
CONCURRENT ?= ./pkg/verifier/... ./pkg/verifier/grpc/... ./pkg/verifier/prometheus/... ./authsvc/... ./resourcesvc/... ./forwardauth/...

FUZZTIME  ?= 10s
BENCHTIME ?= 1s
# Of make bench, propagation, recovery, issuing and reading: where the pages and plots go.
RESULTS  ?= test/bench/results
# Of make faults; without SEED a fresh one is drawn, and printed.
DURATION ?= 2m
SETUP    ?= both
SEED     ?=
# B of the verifiers, a regular expression for the names of the faults to inject, and the longest time between two of them.
BOUND    ?= 3s
FAULTS   ?=
PAUSE    ?= 4s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: bin ## build bin/authsvc, bin/authctl, bin/resourcesvc and bin/forwardauth, static
	@for program in $(PROGRAMS); do \
		CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./$$program; \
	done
	@echo "built: bin/authsvc bin/authctl bin/resourcesvc bin/forwardauth ($(VERSION))"

.PHONY: caddy
caddy: bin ## build bin/caddy, for the tests of forwardauth behind it (a minute the first time)
	@cd tools/caddy && GOWORK=off CGO_ENABLED=0 $(GO) build -o ../../bin/caddy .

bin:
	@mkdir -p bin && echo '*' >bin/.gitignore

.PHONY: run
run: build ## start authsvc and resourcesvc on this machine, with three curl lines to try
	@$(GO) build -o bin/run ./test/demo/cmd/run
	@exec bin/run $(ARGS)

.PHONY: demo
demo: build ## tell the whole story with measured milliseconds, on running or freshly started services
	@$(GO) build -o bin/demo ./test/demo/cmd/demo
	@exec bin/demo $(ARGS)

# Results aren't cached: the go command can't see what the programs were built from that the tests start.
.PHONY: test
test: bin ## run every test; with PostgreSQL where it is (TOCSIN_REQUIRE=postgres: fail where it isn't)
	@$(GO) build -o bin/pgtest ./test/pgtest/cmd/pgtest
	@code=0; why="$$(bin/pgtest true 2>&1)" || code=$$?; \
	if [ $$code = 0 ]; then \
		bin/pgtest $(GO) test -count=1 -timeout 30m $(TESTFLAGS) $(PACKAGES); \
		echo "test: passed on SQLite and PostgreSQL"; \
	elif [ $$code = 3 ] && [[ ",$${TOCSIN_REQUIRE:-}," != *,postgres,* ]]; then \
		$(GO) test -count=1 -timeout 30m $(TESTFLAGS) $(PACKAGES); \
		echo "test: passed on SQLite only; PostgreSQL was skipped ($$why)"; \
	else \
		echo "test: PostgreSQL is required or broken ($$why)" >&2; exit 1; \
	fi

.PHONY: race
race: bin ## run the concurrent packages' tests under the race detector (needs a C compiler)
	@$(GO) build -o bin/pgtest ./test/pgtest/cmd/pgtest
	@command -v "$$($(GO) env CC)" >/dev/null || { echo "race: no C compiler" >&2; exit 1; }
	@code=0; CGO_ENABLED=1 bin/pgtest $(GO) test -race -short -timeout 30m $(TESTFLAGS) $(CONCURRENT) || code=$$?; \
	if [ $$code = 3 ]; then CGO_ENABLED=1 $(GO) test -race -short -timeout 30m $(TESTFLAGS) $(CONCURRENT); else exit $$code; fi

.PHONY: lint
lint: bin ## check formatting, go vet, staticcheck, and that each module builds alone
	@unformatted="$$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 gofmt -l)"; \
	if [ -n "$$unformatted" ]; then echo "lint: not gofmt'ed:" $$unformatted >&2; exit 1; fi
	@$(GO) vet $(PACKAGES)
	@cd tools && GOWORK=off $(GO) build -o ../bin/ honnef.co/go/tools/cmd/staticcheck
	@bin/staticcheck $(PACKAGES)
	@for dir in $$($(GO) list -m -f '{{.Dir}}'); do (cd "$$dir" && GOWORK=off $(GO) build ./...); done
	@heavy="$$(cd pkg/verifier && GOWORK=off $(GO) list -deps ./... | grep -E \
		'nats-server|database/sql|prometheus|go-chi|huma|/testing$$|goleak|rapid' || true)"; \
	if [ -n "$$heavy" ]; then echo "lint: pkg/verifier has grown heavy:" $$heavy >&2; exit 1; fi
	@if cd pkg/verifier && GOWORK=off $(GO) list -deps . | grep -qx testing; then \
		echo "lint: package verifier imports testing" >&2; exit 1; fi
	@echo "lint: clean"

.PHONY: fuzz
fuzz: ## fuzz every parser of outside bytes, FUZZTIME (10s) each
	@for package in $$($(GO) list $(PACKAGES)); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: bench
bench: ## measure a check beside what people would use instead (5 minutes; with Redis where it is, TOCSIN_REQUIRE=redis fails where it isn't; ARGS)
	@$(GO) test -count=1 -v -timeout 30m -run '^TestSpeed$$' ./test/bench/speed \
		-args -rounds 15 -each 150ms -tokens 100000 -revoked 1000 -results $(RESULTS) $(ARGS)

.PHONY: bench-check
bench-check: ## a short run of it: ratios within their tolerances of the committed ones, allocations the same (1 to 2 minutes; ARGS)
	@$(GO) test -count=1 -v -timeout 30m -run '^TestSpeed$$' ./test/bench/speed \
		-args -rounds 7 -each 40ms -tokens 100000 -revoked 1000 -check $(RESULTS) $(ARGS)

.PHONY: bench-deps
bench-deps: ## install what make bench compares with, and PostgreSQL (Debian, as root)
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends redis-server postgresql

.PHONY: benchmarks
benchmarks: ## run the Go benchmarks of all packages and print the machine and commit beside the figures
	@echo "commit:  $(VERSION)"
	@echo "machine: $$(uname -srm), $$(nproc 2>/dev/null || echo ?) CPUs, $$($(GO) version)"
	@$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(PACKAGES) | grep -Ev '^(ok|PASS|\?)|no test files'

.PHONY: propagation
propagation: ## measure how fast a revocation reaches 1 to 500 verifiers, on both engines (4 minutes; ARGS)
	@$(GO) test -count=1 -v -timeout 30m -run '^TestPropagation$$' ./test/bench/propagation \
		-args -single 1,10,100,500 -cluster 1,10,100,500 -rounds 5 -revocations 50 -results $(RESULTS) $(ARGS)

.PHONY: propagation-load
propagation-load: ## measure from the commit to the last request accepted, without load and under 2,000 requests/s, on both engines (4 minutes; ARGS)
	@$(GO) test -count=1 -v -timeout 30m -run '^TestUnderLoad$$' ./test/bench/propagation \
		-args -loads 0:0:0,2000:10:1,2000:10:10 -load-rounds 3 -load-revocations 200 -people 20 -results $(RESULTS) $(ARGS)

.PHONY: recovery
recovery: ## measure takeover, how soon silence is noticed, and freshness after outages (7 minutes; ARGS)
	@$(GO) test -count=1 -v -timeout 30m ./test/bench/recovery \
		-args -kills 50 -holes 10 -outages 10 -results $(RESULTS) $(ARGS)

.PHONY: issuing
issuing: ## measure login, refresh, register and single revocations with 1 to 64 clients, on both engines (3 minutes; ARGS)
	@$(GO) test -count=1 -v -timeout 30m ./test/bench/issuing \
		-args -clients 1,16,64 -each 2s -results $(RESULTS) $(ARGS)

.PHONY: reading
reading: ## measure elite checks, first uses of API keys and introspection with 1 to 64 in flight, on both engines (2 minutes; ARGS, as -before=an older authsvc)
	@$(GO) test -count=1 -v -timeout 30m ./test/bench/reading \
		-args -in-flight 1,16,64 -rounds 3 -each 1s -results $(RESULTS) $(ARGS)

.PHONY: jobs
jobs: ## measure how many queued jobs are accepted and done, and how long each takes, with 1 and 4 workers, on both engines (2 minutes; ARGS)
	@$(GO) test -count=1 -v -timeout 30m ./test/bench/jobs \
		-args -workers 1,4 -clients 16 -each 40 -alone 30 -results $(RESULTS) $(ARGS)

.PHONY: fanout
fanout: ## measure what verifiers, proofs and revocations cost, with 1 to 1,000 verifiers (4 minutes; ARGS)
	@$(GO) test -count=1 -v -timeout 30m ./test/bench/fanout \
		-args -verifiers 1,10,100,300,1000 -rates 100,1000 -clients 1,4,16,64,256 -each 4s -logins 100 -results $(RESULTS) $(ARGS)

.PHONY: forwardauth
forwardauth: build ## measure forwardauth behind nginx beside an empty handler and introspection (2 minutes; needs nginx; ARGS)
	@TOCSIN_BIN=$(CURDIR)/bin $(GO) test -count=1 -v -timeout 30m ./test/bench/forwardauth -args -rounds 15 -each 500ms -results $(RESULTS) $(ARGS)

.PHONY: mass
mass: ## measure the revocation of a role of 100,000 users in one call, on both engines (2 minutes; ARGS)
	@$(GO) test -count=1 -v -timeout 30m ./test/bench/mass \
		-args -holders 100000 -rounds 3 -verifiers 10 -quiet 2s -tokens 1000 -one-by-one 1000 -results $(RESULTS) $(ARGS)

.PHONY: coldstart
coldstart: ## measure how soon verifiers that know nothing are fresh, with 10,000 to 1,000,000 live revocations, and 1,000 at once (4 minutes; ARGS)
	@$(GO) test -count=1 -v -timeout 30m ./test/bench/coldstart \
		-args -live 10000,100000,1000000 -storms 1000,0,0 -rounds 3 -results $(RESULTS) $(ARGS)

.PHONY: measure
measure: propagation recovery issuing reading jobs fanout mass coldstart ## all of them, one after the other, on a quiet machine; RESULTS=folder

.PHONY: defects
defects: ## take each defence away and see that its promise breaks, and that the model notices (SEARCH=1: by random schedules too)
	@TOCSIN_SEARCH=$(SEARCH) $(GO) test -count=1 -timeout 30m -tags tocsin_defects -run 'Defence|Defect' $(TESTFLAGS) \
		./pkg/verifier/... ./authsvc/internal/model ./authsvc/internal/quota | grep -v 'no test files'

.PHONY: faults
faults: ## kill, freeze and cut off real processes under traffic (DURATION, SETUP, SEED, BOUND, FAULTS, PAUSE)
	@$(GO) test -count=1 -v -timeout 0 -parallel 3 -run '^TestFaults$(if $(FAULTS),,|^TestNoCollateralOfAReconnectStorm)' $(TESTFLAGS) ./test/faults \
		-args -duration $(DURATION) -setup $(SETUP) -bound $(BOUND) -pause $(PAUSE) -faults '$(FAULTS)' $(if $(SEED),-seed $(SEED))

.PHONY: generate
generate: ## make the generated files again
	@for dir in $$($(GO) list -m -f '{{.Dir}}'); do (cd "$$dir" && $(GO) generate ./...); done
