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
)

// perClient bounds one client's whole run on a busy machine.
const perClient = 4 * time.Minute

// Matrix runs every client against bootstrap, each as a subtest, and fails those whose report is wrong. gateway says
// whether a gateway that keeps the topics' policies is in between. The topics must exist.
func Matrix(t *testing.T, bootstrap string, topics Topics, gateway bool) {
	t.Helper()
	all, err := All(t.Context(), packageDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("clients", func(t *testing.T) { // ends when its parallel subtests have
		for _, c := range all {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), perClient)
				defer cancel()
				began := time.Now()
				report, err := c.Run(ctx, NewJob(bootstrap, topics))
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range c.Check(report, gateway) {
					t.Error(p)
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

// CreateTopics makes every client's topics, with three replicas.
func CreateTopics(t *testing.T, bootstrap []string, topics Topics) {
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
