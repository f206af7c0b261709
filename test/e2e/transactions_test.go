package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func transactional(t *testing.T, w *world, id string) *kgo.Client {
	t.Helper()
	return client(t, w.addr(), kgo.TransactionalID(id), kgo.TransactionTimeout(30*time.Second))
}

// committed is what a consumer with isolation read_committed sees up to a
// record that is written behind everything.
func (w *world) committed(t *testing.T) []string {
	t.Helper()
	mustSend(t, client(t, w.addr()), "in", 0, "end")
	c := client(t, w.addr(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"in": {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))

	var out []string
	for {
		fetches := c.PollFetches(testContext(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			if string(r.Value) == "end" {
				return out
			}
			out = append(out, string(r.Value))
		}
	}
}

func inTransaction(t *testing.T, c *kgo.Client, commit kgo.TransactionEndTry, values ...string) []error {
	t.Helper()
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}

	errs := send(t, c, "in", 0, values...)
	if err := c.EndTransaction(testContext(t), commit); err != nil {
		t.Fatalf("ending the transaction: %v", err)
	}
	return errs
}

func TestCommittedTransactionIsSeenAndAbortedIsNot(t *testing.T) {
	w := judged(t, 1)
	c := transactional(t, w, "tx")
	if err := errors.Join(inTransaction(t, c, kgo.TryCommit, "a", "m")...); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(inTransaction(t, c, kgo.TryAbort, "never")...); err != nil {
		t.Fatal(err)
	}

	equal(t, "committed", w.committed(t), []string{"a", "M"})
	w.decided("in", 0, 1, "modified", "unspecified")
}

func TestRejectionInATransactionFailsTheBatchAndTheNextTransactionWorks(t *testing.T) {
	w := judged(t, 1)
	c := transactional(t, w, "tx")
	for _, err := range inTransaction(t, c, kgo.TryAbort, "b", "r") {
		if !errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("a rejected record's error is %v", err)
		}
	}

	if err := errors.Join(inTransaction(t, c, kgo.TryCommit, "a")...); err != nil {
		t.Fatal(err)
	}
	equal(t, "committed", w.committed(t), []string{"a"})
}

// A copy in another topic would outlive the abort of its transaction.
func TestRoutedRecordInATransactionIsRejected(t *testing.T) {
	w := judged(t, 1)
	c := transactional(t, w, "tx")
	for _, err := range inTransaction(t, c, kgo.TryAbort, "q") {
		if !errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("the record's error is %v", err)
		}
	}

	w.holdsNothing("quarantine")
}

func TestDroppedRecordInATransactionIsNeverSeen(t *testing.T) {
	w := judged(t, 1)
	c := transactional(t, w, "tx")
	if err := errors.Join(inTransaction(t, c, kgo.TryCommit, "a", "d", "b")...); err != nil {
		t.Fatal(err)
	}
	equal(t, "committed", w.committed(t), []string{"a", "b"})
	w.decided("in", 0, 1, "dropped", "judge.drop")
}
