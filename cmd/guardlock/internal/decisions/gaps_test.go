package decisions

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/internal/reconciling"
)

// TestBrokersExplainWhatIsNoRecord: a marker, and what is no longer kept. A batch of
// records explains nothing, whoever wrote it, and no more does what is not there yet.
func TestBrokersExplainWhatIsNoRecord(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.DefaultProduceTopic("t"), kgo.TransactionalID("tx"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)

	for range 2 { // offsets 0 and 1 with a marker, then 3 and 4 with another
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), kgo.StringRecord("a"), kgo.StringRecord("b")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	var upTo kadm.Offsets
	upTo.AddOffset("t", 0, 2, -1)
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), upTo); err != nil {
		t.Fatal(err)
	}

	e, err := reconciling.Ask(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		gap  evidence.Span
		want []evidence.Gap
	}{
		{evidence.Span{First: 0, Last: 9}, []evidence.Gap{{First: 0, Last: 1, Kind: evidence.GapRetention}, {First: 2, Last: 2, Kind: evidence.GapMarker}, {First: 5, Last: 5, Kind: evidence.GapMarker}}},
		{evidence.Span{First: 1, Last: 1}, []evidence.Gap{{First: 1, Last: 1, Kind: evidence.GapRetention}}},
		{evidence.Span{First: 3, Last: 4}, nil},
		{evidence.Span{First: 4, Last: 5}, []evidence.Gap{{First: 5, Last: 5, Kind: evidence.GapMarker}}},
		{evidence.Span{First: 6, Last: 9}, nil},
	} {
		got, err := explainGap(t.Context(), e, audit.Coord{Cluster: "main", Topic: "t"}, tc.gap)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%+v: %+v, %v", tc.gap, got, err)
		}
	}
}
