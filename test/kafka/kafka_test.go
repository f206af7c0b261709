//go:build kafka

// Package kafka tests Guardlock in front of a real Apache Kafka cluster of three nodes: what a client does is done twice,
// straight against the cluster and through the built program, and both must come out the same except where policy acts.
//
// One cluster and one gateway serve the whole package; tests that need another gateway, with TLS or a login, start it.
// Nodes are stopped and started again by some tests, so that no test runs beside another.
package kafka

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// What all tests share: set by TestMain, changed by nobody.
var (
	cluster *kafkatest.Cluster
	shared  *gateway // in front of the plain listeners
	built   *program
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "guardlock-kafka-nodes-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	defer os.RemoveAll(dir)
	config, err := clusterConfig(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	if cluster, err = kafkatest.Open(ctx, config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	defer cluster.Close()
	if built, err = build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	defer os.RemoveAll(built.dir)
	if shared, err = built.serve(options{upstream: cluster.Bootstrap()}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}

	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}

	if code != 0 {
		fmt.Fprintf(os.Stderr, "the gateway said:\n%s", shared.logged())
	}
	return code
}

// testTimeout bounds every wait: far above what anything takes on a busy machine.
const testTimeout = 60 * time.Second

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until done reports true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()

	for end := time.Now().Add(testTimeout); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, testTimeout)
		}
	}
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
