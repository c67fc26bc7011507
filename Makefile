# Everything a developer types. Needs Go, git, make and bash; all else is pinned in go.mod and the modules under tools.
#
#   T=name     narrows tests, benchmarks or fuzzing to what matches
#   PKG=./dir  narrows to packages
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PKG ?= ./...
T ?=
FUZZTIME ?= 20s
# More flags for go test, such as TESTFLAGS=-v or TESTFLAGS=-count=1.
TESTFLAGS ?=
SCALEFLAGS ?=
# Flags of bench, such as BENCHFLAGS='-only streaming -transactions 1000000'.
BENCHFLAGS ?=

# Packages are tested two at a time: several start servers, and a timeout should mean a hang and not a busy machine.
gotest = go test -race -shuffle=on -p 2 $(if $(T),-run '$(T)') $(TESTFLAGS)
programs := finx-connector finx-sandbox finx-local
modules = . tools/vaultdev tools/lint $(checkers)
# What is shipped beside the program is checked with the tools it is made for (Helm, Docker's parser, Prometheus' engine), in modules of their own.
checkers := tools/deploycheck tools/promcheck
# git refuses to speak of a checkout that belongs to somebody else, and go build then fails: no stamp is better than no build.
stamp = $(shell git rev-parse HEAD >/dev/null 2>&1 && echo true || echo false)
linter := bin/tools/golangci-lint
scanner := bin/tools/govulncheck

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: bin/finx-local ## the whole job on this machine; ONCE=1 ends after the story, VAULT=1 with a real Vault; NATS_URL or VAULT_ADDR use what runs already
	@exec bin/finx-local

.PHONY: build
build: ## the three programs, into bin/
	@for p in $(programs); do tools/build.sh program bin/$$p ./cmd/$$p -buildvcs=$(stamp); done

.PHONY: bin/finx-local
bin/finx-local: # go build knows best whether it is up to date
	@tools/build.sh program $@ ./cmd/finx-local -buildvcs=false

.PHONY: test
test: test-deps ## all tests with the race detector, on real servers; T= PKG= TESTFLAGS= narrow
	$(gotest) -timeout 30m $(PKG)
ifeq ($(PKG),./...)
	@$(MAKE) --no-print-directory test-deploy
endif

.PHONY: test-deploy
test-deploy: ## of them, those of the image, the compose file, the chart, the alert rules and the dashboards
	@for m in $(checkers); do (cd $$m && ../build.sh tests ./... && $(gotest) -count=1 -timeout 20m ./...); done # they read files the cache does not know of

.PHONY: test-long
test-long: test-deps ## the tests that take minutes as well
	FINX_TEST_LONG=1 $(gotest) -timeout 60m $(PKG)

.PHONY: soak
soak: PKG = ./e2e
soak: test-deps ## mixed load and random troubles FOR=5m, then a ledger that must balance (docs/soak.md); SEED= RATE= LOGS=
	FINX_SOAK=$(or $(FOR),5m) FINX_SOAK_SEED='$(SEED)' FINX_SOAK_RATE='$(RATE)' FINX_SOAK_LOGS='$(if $(LOGS),$(abspath $(LOGS)))' \
		go test -race -count=1 -v -timeout 0 -run '^TestSoak$$' ./e2e

# Compiled beforehand, with progress: the packages, and the Vault core that tests start as a process. So the first test
# that needs it does not spend its timeout on a build.
.PHONY: test-deps
test-deps:
	@tools/build.sh tests '$(PKG)'
	@if go list -test -deps $(PKG) | grep '/internal/vaultdev$$' >/dev/null; then go run ./tools/vaultbuild; fi

.PHONY: bench
bench: ## the connector beside a floor that makes the same calls; BENCHFLAGS=-quick, -help lists more
	go run -buildvcs=false ./bench $(BENCHFLAGS)

.PHONY: scale
scale: ## what a connection costs broker, Vault and connector at three sizes, carried to ten million; SCALEFLAGS=-help lists more
	go run -buildvcs=false ./bench scale $(SCALEFLAGS)

.PHONY: microbench
microbench: ## benchmarks of single functions; T= PKG= narrow
	go test -run '^$$' -bench '$(or $(T),.)' -benchmem $(TESTFLAGS) $(PKG)

.PHONY: fuzz
fuzz: ## every fuzz test for FUZZTIME=20s, or the ones that match T=
	@ran=; while IFS=: read -r file func; do \
		name=$${func#func }; \
		if [[ $$name =~ $(or $(T),.) ]]; then \
			ran=yes; echo "$$name in $${file%/*}"; \
			go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) "./$${file%/*}" </dev/null; \
		fi; \
	done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' $(patsubst %/...,%,$(PKG))); \
	if [ -z "$$ran" ]; then echo "no fuzz test matches" >&2; exit 1; fi

.PHONY: lint
lint: $(linter) $(scanner) ## linters, go vet, tidy modules, known vulnerabilities
	$(linter) run --allow-parallel-runners $(PKG)
	@for m in tools/vaultdev $(checkers); do echo "golangci-lint in $$m"; (cd $$m && ../../$(linter) run --allow-parallel-runners ./...); done
	go vet $(PKG)
	@for m in $(modules); do echo "go mod tidy -diff in $$m"; (cd $$m && go mod tidy -diff); done
	tools/lint/vulnerabilities.sh $(scanner) $(PKG)

.PHONY: fmt
fmt: $(linter) ## format, and apply what the linters can fix by themselves
	$(linter) fmt
	$(linter) run --fix --issues-exit-code 0 >/dev/null

.PHONY: golden
golden: ## draw goldens and generated parts of docs again
	@for d in $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | grep -v '^./e2e/' | xargs -n1 dirname | sort -u); do (cd $$d && go test . -update); done

.PHONY: crash-tables
crash-tables: test-deps ## what docs/custody.md says was counted, counted again
	go test -race ./e2e -run 'TestCrashMatrix$$|TestLostAnswers|TestStoppedLeaseHolder' -update

.PHONY: clean
clean: ## what was built and the state of `make run`
	rm -rf bin .local coverage.out

$(linter): tools/lint/go.mod tools/lint/go.sum
	@cd tools/lint && ../build.sh program ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(scanner): tools/lint/go.mod tools/lint/go.sum
	@cd tools/lint && ../build.sh program ../../$@ golang.org/x/vuln/cmd/govulncheck
