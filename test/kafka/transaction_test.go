//go:build kafka

package kafka

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// transacted is what a few transactions of one producer come to.
type transacted struct {
	Committed, All []string
	Epochs         []int16 // of the producer, less the first, record by record: TV2 moves on with every transaction
}

// TestTransactionsAreKeptOrUndone: commit, abort, commit, over two partitions.
func TestTransactionsAreKeptOrUndone(t *testing.T) {
	same(t, func(t *testing.T, w way) transacted {
		to := topic(t, w, "plain", 2)
		c := w.client(t, kgo.TransactionalID(to))
		for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
			prefix := []string{"kept", "undone", "kept too"}[i]
			transact(t, c, end, append(records(to, 0, numbered(prefix, 3)...), records(to, 1, numbered(prefix, 2)...)...)...)
		}

		got := transacted{}
		for _, part := range consume(t, w, to, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
			got.Committed = append(got.Committed, part...)
		}

		stored := storedIn(t, to)
		got.All = values(stored)
		for _, at := range places(stored) {
			got.Epochs = append(got.Epochs, stored[at].ProducerEpoch-stored[places(stored)[0]].ProducerEpoch)
		}

		if w.name == "gateway" {
			everyRecordIsDecided(t, to, shared)
		}
		if !slices.Contains(got.Epochs, 2) {
			t.Errorf("the producer's epoch did not move with each transaction, as TV2 has it: %v", got.Epochs)
		}

		return got
	})
}

func transact(t *testing.T, c *kgo.Client, end kgo.TransactionEndTry, records ...*kgo.Record) {
	t.Helper()
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}

	mustSend(t, c, records...)
	if err := c.EndTransaction(patient(t), end); err != nil {
		t.Fatal(err)
	}
}

// moved is what reading, transforming and writing in transactions comes to.
type moved struct {
	Out       []string
	Committed int64 // the group's offset
	Again     []string
}

// TestOffsetsAreCommittedWithTheirTransaction: what an aborted transaction read is read again.
func TestOffsetsAreCommittedWithTheirTransaction(t *testing.T) {
	same(t, func(t *testing.T, w way) moved {
		in := topic(t, w, "plain", 1)
		out := topic(t, w, "plain", 1)
		mustSend(t, w.client(t), records(in, 0, numbered("in", 6)...)...)
		var got moved
		pass(t, w, in, out, kgo.TryCommit)
		mustSend(t, w.client(t), records(in, 0, numbered("late", 4)...)...)
		pass(t, w, in, out, kgo.TryAbort)
		got.Out = consume(t, w, out, kgo.FetchIsolationLevel(kgo.ReadCommitted()))[0]
		offset, _ := must(w.admin(t).FetchOffsets(patient(t), in))(t).Lookup(in, 0)
		got.Committed = offset.At
		got.Again = pass(t, w, in, out, kgo.TryCommit)

		return got
	})
}

// pass copies what is new in one transaction, and returns it.
func pass(t *testing.T, w way, in, out string, end kgo.TransactionEndTry) (read []string) {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(w.seeds...), kgo.TransactionalID(in), kgo.ConsumerGroup(in), kgo.ConsumeTopics(in),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RecordPartitioner(kgo.ManualPartitioner())}

	s := must(kgo.NewGroupTransactSession(append(opts, w.opts...)...))(t)
	defer s.Close()
	ctx := patient(t)

	fetches := s.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}

	for _, r := range fetches.Records() {
		read = append(read, string(r.Value))
		s.Produce(ctx, &kgo.Record{Topic: out, Value: r.Value}, nil)
	}

	if committed, err := s.End(ctx, end); err != nil || committed != bool(end) {
		t.Fatalf("the transaction ended with %v, %v", committed, err)
	}
	return read
}

// TestARejectedRecordUndoesItsTransaction: the producer is told, aborts, and nothing of the transaction is seen.
func TestARejectedRecordUndoesItsTransaction(t *testing.T) {
	w := through(shared)
	strict := topic(t, w, "strict", 1)
	plain := topic(t, w, "plain", 1)
	c := w.client(t, kgo.TransactionalID(strict))
	for _, value := range []string{"good", "Bad", "better"} {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		mustSend(t, c, records(plain, 0, value)...)
		end := kgo.TryCommit

		switch got := send(t, c, records(strict, 0, value)...)[0]; {
		case value != "Bad" && got != "ok":
			t.Errorf("%s: %s", value, got)
		case value == "Bad" && got != kerr.InvalidRecord.Message:
			t.Errorf("%s: %s", value, got)
		case value == "Bad":
			end = kgo.TryAbort
		}

		if err := c.EndTransaction(patient(t), end); err != nil {
			t.Fatalf("ending the transaction of %s: %v", value, err)
		}
	}

	for _, topic := range []string{strict, plain} {
		got := consume(t, w, topic, kgo.FetchIsolationLevel(kgo.ReadCommitted()))[0]
		if !slices.Equal(got, []string{"good", "better"}) {
			t.Errorf("%s holds %q", topic, got)
		}
	}
}

// TestRecordsAreDroppedInTransactionsToo: a transaction keeps its sequence numbers over dropped records.
func TestRecordsAreDroppedInTransactionsToo(t *testing.T) {
	w := through(shared)
	to := topic(t, w, "dropping", 1)
	c := w.client(t, kgo.TransactionalID(to))
	transact(t, c, kgo.TryCommit, records(to, 0, "keep 1", "drop 2", "drop 3")...)
	transact(t, c, kgo.TryAbort, records(to, 0, "undone", "drop 4")...)
	transact(t, c, kgo.TryCommit, records(to, 0, "drop 5")...)
	transact(t, c, kgo.TryCommit, records(to, 0, "keep 6")...)

	if got := consume(t, w, to, kgo.FetchIsolationLevel(kgo.ReadCommitted()))[0]; !slices.Equal(got, []string{"keep 1", "keep 6"}) {
		t.Errorf("seen %q", got)
	}
	if n := len(storedIn(t, to)); n != 7 {
		t.Errorf("%d records are stored, placeholders among them", n)
	}

	everyRecordIsDecided(t, to, shared)
}

// TestTheClustersFeaturesAreSeenAsTheyAre: clients choose how they transact by transaction.version.
func TestTheClustersFeaturesAreSeenAsTheyAre(t *testing.T) {
	same(t, func(t *testing.T, w way) map[string]int16 {
		got := map[string]int16{}
		versions := must(w.admin(t).ApiVersions(patient(t)))(t)
		versions.Each(func(v kadm.BrokerApiVersions) {
			for _, f := range v.Raw().FinalizedFeatures {
				if f.Name != "kraft.version" && f.Name != "metadata.version" {
					got[f.Name] = f.MaxVersionLevel
				}
			}
		})

		if got["transaction.version"] != 2 {
			t.Errorf("transaction.version is %d", got["transaction.version"])
		}
		return got
	})
}
