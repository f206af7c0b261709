//go:build kafka

package clients

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// perClient bounds one client's whole run, far above what it takes even on a busy machine.
const perClient = 4 * time.Minute

// Matrix makes a pass's topics and runs every client, each as a subtest. It fails those whose report is wrong.
func Matrix(t *testing.T, kafka *kafkatest.Cluster, all []Client, p Pass) {
	t.Helper()
	createTopics(t, kafka.Bootstrap(), p.Topics)
	t.Run("clients", func(t *testing.T) { // ends when its parallel subtests have
		for _, c := range all {
			job, able := p.Job(c)
			if !able {
				continue
			}

			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), perClient)
				defer cancel()
				began := time.Now()

				report, err := c.Run(ctx, job)
				if err != nil {
					t.Fatal(err)
				}

				for _, problem := range c.Check(report, p) {
					t.Error(problem)
				}
				t.Logf("%s: %d cases in %v", report.Client, len(report.Cases), time.Since(began).Round(100*time.Millisecond))
			})
		}
	})
}

// packageDir is where this package's files are, from whatever package's test it is asked.
func packageDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// createTopics makes every client's topics with three replicas, so that one node may be away.
func createTopics(t *testing.T, bootstrap []string, topics Topics) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(bootstrap...))
	if err != nil {
		t.Fatal(err)
	}

	defer cl.Close()
	byCount := make(map[int32][]string)
	for name, n := range topics.Partitions() {
		byCount[n] = append(byCount[n], name)
	}

	for n, names := range byCount {
		made, err := kadm.NewClient(cl).CreateTopics(t.Context(), n, 3, nil, names...)
		if err = errors.Join(err, made.Error()); err != nil {
			t.Fatal(err)
		}
	}
}
