# What developers and CI run. Only Go is needed for build, test, test-race, fuzz, bench and lint.

GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.1
FUZZTIME    ?= 10s
BENCHTIME   ?= 1s
BENCH       ?= .

# Packages with tests that need a real Kafka, behind the build tag kafka.
KAFKA_TESTS := $(sort $(dir $(shell grep -rl --include='*_test.go' '^//go:build kafka' . 2>/dev/null)))

.PHONY: build test test-race fuzz bench kafka-jars clients test-kafka modules modules-check lint soak cluster

build:
	$(GO) build -o guardlock ./cmd/guardlock

test:
	$(GO) test ./...

test-race:
	$(GO) test -race ./...

# Every fuzz target of every package, for FUZZTIME each; new inputs that fail land in testdata/fuzz.
fuzz:
	@set -e; $(GO) list ./... | while read -r package; do \
	  for target in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
	  done; \
	done

bench:
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) ./...

# A real Apache Kafka, by Maven, into the user's cache directory; needs mvn and Java 17.
kafka-jars:
	internal/kafkatest/fetch-jars.sh

# The clients of the matrix, below test/clients; needs python3, npm, mvn, Java 17 and kcat.
clients:
	test/clients/install.sh

# One package after another: each starts a cluster of three nodes. The clients of the matrix wait more than they work, so that
# more of them run at a time than there are cores.
test-kafka: kafka-jars clients
	$(GO) test -tags kafka -count=1 -p 1 -parallel 4 -timeout 30m $(KAFKA_TESTS)

# Rebuilds the WebAssembly modules; needs python3 with pip. modules-check fails where one differs from what is committed.
modules:
	transforms/modules/build.sh
	test/clients/dropping/build.sh

modules-check:
	transforms/modules/build.sh --check
	test/clients/dropping/build.sh --check

# A gateway under load for SOAK: its memory, open files and goroutines must not grow.
SOAK ?= 30m
soak:
	$(GO) test -tags soak -count=1 -v -timeout 2h -run TestNothingGrows ./test/e2e -soak $(SOAK)

# The Helm chart in a real Kubernetes, which is built first; needs root.
cluster:
	deploy/chart/cluster/run.sh

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not formatted:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags kafka $(KAFKA_TESTS)
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags kafka $(KAFKA_TESTS)
