package reconciling

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/reconcile"
)

// brokers are of a cluster with topics of one partition each, and a client of it.
func brokers(t *testing.T, topics ...string) (*kfake.Cluster, *kgo.Client) {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.DefaultProduceTopic(topics[0]), kgo.TransactionalID("tx"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return k, client
}

// transact stores a record and a marker.
func transact(t *testing.T, client *kgo.Client) {
	t.Helper()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("a")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

// decided is a log that has decisions about a batch of one record in each partition.
func decided(t *testing.T, about ...audit.Coord) *audit.Log {
	t.Helper()
	l, err := audit.Open(filepath.Join(t.TempDir(), "audit"), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, at := range about {
		decide(t, l, at, 0)
	}
	return l
}

// decide has a log say that a batch of one record is stored at an offset.
func decide(t *testing.T, l *audit.Log, at audit.Coord, offset int64) {
	t.Helper()
	e := &audit.BatchEntry{
		Target:   audit.Target{Cluster: at.Cluster, Topic: at.Topic, Partition: at.Partition},
		Producer: audit.Producer{ProducerID: -1},
		Payload:  audit.Payload{Records: 1},
		Outcome:  audit.OutcomePassed,
	}
	e.Add(audit.Ruling{}, 1)
	l.Place(l.Append(e, nil).Seq(), audit.Placement{BaseOffset: offset})
	if err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindConfig, Subject: "flush", Outcome: "applied"}); err != nil {
		t.Fatal(err)
	}
}

// logOf is what a log covers that decided has made.
func logOf(t *testing.T, about ...audit.Coord) *reconcile.Coverage {
	t.Helper()
	c := new(reconcile.Coverage)
	if err := c.Read(t.Context(), decided(t, about...).Reader()); err != nil {
		t.Fatal(err)
	}
	return c
}

func ask(t *testing.T, client *kgo.Client) *Ends {
	t.Helper()
	e, err := Ask(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestMarkersAreReadInPieces: a topic with many transactions takes a few requests, and
// not one for each marker.
func TestMarkersAreReadInPieces(t *testing.T) {
	const transactions = 400
	_, client := brokers(t, "t")
	for range transactions {
		transact(t, client)
	}

	e := ask(t, client)
	requests := 0
	e.Before = func(context.Context) error { requests++; return nil }
	got, err := e.Judge(t.Context(), new(reconcile.Coverage), audit.Coord{Topic: "t"}, nil)
	if err != nil || got.End != 2*transactions {
		t.Fatalf("%+v, %v", got, err)
	}

	markers := 0
	for i, f := range got.Findings {
		if f.First != int64(i) || f.Last != f.First {
			t.Fatalf("finding %d is %+v", i, f)
		}
		if f.Kind == reconcile.Marker {
			markers++
		}
	}
	if markers != transactions || requests > 2 {
		t.Errorf("%d markers by %d requests", markers, requests)
	}

	// Who makes the requests wait, ends the look, too.
	enough := errors.New("enough")
	e.Before = func(context.Context) error { return enough }
	if _, err := e.Judge(t.Context(), new(reconcile.Coverage), audit.Coord{Topic: "t"}, nil); !errors.Is(err, enough) {
		t.Error(err)
	}
}

// TestPiecesAnswerAsThePartitionDoes: whatever was asked for before, also backwards.
func TestPiecesAnswerAsThePartitionDoes(t *testing.T) {
	_, client := brokers(t, "t")
	for range 20 {
		transact(t, client)
	}
	var upTo kadm.Offsets
	upTo.AddOffset("t", 0, 4, -1)
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), upTo); err != nil {
		t.Fatal(err)
	}

	p, err := ask(t, client).Partition(audit.Coord{Topic: "t"})
	if err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{4, 5, 20, 10, 39, 38, 40, 6} {
		batch, err := p.Batch(t.Context(), offset)
		if err != nil || (batch == nil) != (offset == 40) {
			t.Fatalf("offset %d: %d bytes, %v", offset, len(batch), err)
		}
		if base := baseOf(batch); batch != nil && base != offset {
			t.Errorf("offset %d: the batch of %d", offset, base)
		}
	}
}

func baseOf(batch []byte) (base int64) {
	for i := range min(8, len(batch)) {
		base = base<<8 | int64(batch[i])
	}
	return base
}

// TestWhatTheClusterHasNotGotIsTold, topic by topic and partition by partition: what was
// decided about it is compared with nothing.
func TestWhatTheClusterHasNotGotIsTold(t *testing.T) {
	_, client := brokers(t, "t")
	lost := audit.Coord{Cluster: "main", Topic: "lost"}
	less := audit.Coord{Cluster: "main", Topic: "t", Partition: 1}
	there := audit.Coord{Cluster: "main", Topic: "t"}
	c := logOf(t, there, less, lost)

	parts, err := ask(t, client).Choose(t.Context(), c, Choice{})
	if err != nil || len(parts.There) != 1 || parts.There[0] != there || len(parts.Gone) != 2 || parts.Gone[0] != lost || parts.Gone[1] != less {
		t.Fatalf("%+v, %v", parts, err)
	}
	if f := c.Gone(lost); f.Kind != reconcile.Gone || f.First != 0 || f.Last != 0 {
		t.Errorf("%+v", f)
	}
	if f := c.Gone(audit.Coord{Cluster: "main", Topic: "nobody's"}); f.Last >= f.First {
		t.Errorf("%+v", f)
	}

	if _, err := ask(t, client).Choose(t.Context(), logOf(t, lost), Choice{}); !errors.Is(err, ErrNothing) {
		t.Errorf("nothing is there, and that is fine: %v", err)
	}
	if _, err := ask(t, client).Choose(t.Context(), c, Choice{Topics: []string{"lost"}}); !errors.Is(err, ErrNoTopic) || !strings.Contains(err.Error(), "decisions name it") {
		t.Errorf("the topic that was named, and was there once: %v", err)
	}
	if _, err := ask(t, client).Choose(t.Context(), c, Choice{Topics: []string{"never"}}); !errors.Is(err, ErrNoTopic) || strings.Contains(err.Error(), "decisions name it") {
		t.Errorf("a topic that nobody knows: %v", err)
	}
	if _, err := ask(t, client).Choose(t.Context(), logOf(t, there, audit.Coord{Cluster: "eu", Topic: "t"}), Choice{}); !errors.Is(err, ErrSeveralClusters) {
		t.Errorf("two clusters: %v", err)
	}
}

// TestTopicThatMayNotBeSeenIsNotGone: brokers leave it out of their list.
func TestTopicThatMayNotBeSeenIsNotGone(t *testing.T) {
	k, client := brokers(t, "t")
	k.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		asked := req.(*kmsg.MetadataRequest)
		if len(asked.Topics) != 1 || asked.Topics[0].Topic == nil || *asked.Topics[0].Topic != "secret" {
			return nil, nil, false
		}
		resp := asked.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = asked.Topics[0].Topic
		topic.ErrorCode = kerr.TopicAuthorizationFailed.Code
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})

	c := logOf(t, audit.Coord{Cluster: "main", Topic: "t"}, audit.Coord{Cluster: "main", Topic: "secret"})
	if _, err := ask(t, client).Choose(t.Context(), c, Choice{}); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("it was not said that the topic may not be seen: %v", err)
	}
}

// TestEndThatABrokerDoesNotTellIsNoEnd: a partition without a leader is not fine.
func TestEndThatABrokerDoesNotTellIsNoEnd(t *testing.T) {
	k, client := brokers(t, "t")
	k.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = "t"
		partition := kmsg.NewListOffsetsResponseTopicPartition()
		partition.ErrorCode = kerr.UnknownServerError.Code
		topic.Partitions = append(topic.Partitions, partition)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})

	if _, err := ask(t, client).Judge(t.Context(), new(reconcile.Coverage), audit.Coord{Topic: "t"}, nil); !errors.Is(err, kerr.UnknownServerError) {
		t.Errorf("ends that nobody told: %v", err)
	}
}
