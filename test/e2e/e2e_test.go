// Package e2e tests Guardlock from the outside: real Kafka clients on one side,
// a real Kafka implementation on the other, and between them the gateway with
// real signatures, policy, sandbox and decision log. Each test says, for one
// outcome, what the client saw, what the topic holds and what the log says.
//
// Most tests run the gateway in this process, in front of a Kafka cluster in
// memory that stands for a real one. Those that kill, drain or reload run the
// program itself, built once for each test run.
package e2e

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms"
)

// The test binary runs guests in workers, as guardlock does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == transforms.WorkerCommand {
		if err := transforms.RunWorker(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}

	code := m.Run()
	removeProgram()
	os.Exit(code)
}

// testTimeout bounds every wait: far above what anything takes on a busy machine.
const testTimeout = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until done reports true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !within(testTimeout, done) {
		t.Fatalf("%s: not within %s", what, testTimeout)
	}
}

// within asks done again and again until it reports true or d has passed.
func within(d time.Duration, done func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); !done(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}

	return true
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
