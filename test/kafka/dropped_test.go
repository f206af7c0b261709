//go:build kafka

package kafka

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// dropped makes a topic in which records were dropped at the start, in the middle, in a batch of their own and at the end.
func dropped(t *testing.T, w way, opts ...kgo.Opt) string {
	t.Helper()
	to := topic(t, w, "dropping", 1)
	c := w.client(t, opts...)
	for _, batch := range [][]string{{"drop 0", "keep 1", "drop 2", "keep 3"}, {"drop 4", "drop 5"}, {"keep 6", "drop 7"}, {"drop 8"}} {
		mustSend(t, c, records(to, 0, batch...)...)
	}
	return to
}

// TestPlaceholdersAreSeenOnlyBesideTheGateway: dropped records keep their places, whether or not their producer counts them.
func TestPlaceholdersAreSeenOnlyBesideTheGateway(t *testing.T) {
	for kind, opts := range map[string][]kgo.Opt{"idempotent": nil, "plain": {kgo.DisableIdempotentWrite()}} {
		t.Run(kind, func(t *testing.T) {
			w := through(shared)
			to := dropped(t, w, opts...)
			if got := consume(t, w, to)[0]; !slices.Equal(got, []string{"keep 1", "keep 3", "keep 6"}) {
				t.Errorf("seen through the gateway: %q", got)
			}

			kept := map[int64]string{1: "keep 1", 3: "keep 3", 6: "keep 6"}
			stored := storedIn(t, to)
			if len(stored) != 9 {
				t.Errorf("%d records are stored", len(stored))
			}

			for at, r := range stored {
				if kept[at.offset] != "" && string(r.Value) == kept[at.offset] {
					continue
				}
				if r.Key != nil || r.Value != nil || len(r.Headers) != 1 || r.Headers[0].Key != "guardlock.dropped" ||
					string(r.Headers[0].Value) != "dropping" {
					t.Errorf("at %d stands %q = %q, headers %v", at.offset, r.Key, r.Value, r.Headers)
				}
			}

			everyRecordIsDecided(t, to, shared)
		})
	}
}

// TestOffsetsToldAreOffsetsStored: franz-go and Java, idempotent or not, are told of each kept record of a mixed batch where it
// lies.
func TestOffsetsToldAreOffsetsStored(t *testing.T) {
	values := []string{"drop 0", "keep 1", "drop 2", "drop 3", "keep 4", "keep 5", "drop 6"}
	for kind, opts := range map[string][]kgo.Opt{"idempotent": nil, "plain": {kgo.DisableIdempotentWrite()}} {
		for client, told := range map[string]func(t *testing.T, to string) map[string]int64{
			"franz-go": func(t *testing.T, to string) map[string]int64 {
				out := map[string]int64{}
				c := through(shared).client(t, append([]kgo.Opt{kgo.ProducerLinger(100 * time.Millisecond)}, opts...)...)
				for _, r := range c.ProduceSync(patient(t), records(to, 0, values...)...) {
					if r.Err != nil {
						t.Fatal(r.Err)
					}
					out[string(r.Record.Value)] = r.Record.Offset
				}

				return out
			},
			"Java": func(t *testing.T, to string) map[string]int64 { return javaTold(t, to, kind == "idempotent", values) },
		} {
			t.Run(client+" "+kind, func(t *testing.T) {
				to := topic(t, through(shared), "dropping", 1)
				offsets := told(t, to)
				stored := storedIn(t, to)
				if len(offsets) != len(values) || len(stored) != len(values) {
					t.Fatalf("of %d records, %d have an offset and %d a place", len(values), len(offsets), len(stored))
				}

				for value, offset := range offsets {
					r := stored[position{0, offset}]
					if r == nil || strings.HasPrefix(value, "keep") && string(r.Value) != value || strings.HasPrefix(value, "drop") && r.Value != nil {
						t.Errorf("at %d, told of %q, stands %v", offset, value, r)
					}
				}
			})
		}
	}
}

// javaTold sends values as one batch of Kafka's own client, and returns the offsets that it reports.
func javaTold(t *testing.T, to string, idempotent bool, values []string) map[string]int64 {
	t.Helper()
	args := append([]string{shared.addr, to, strconv.FormatBool(idempotent)}, values...)
	out, err := cluster.Java(patient(t), "testdata/Told.java", args...).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	told := map[string]int64{}
	for line := range strings.Lines(string(out)) {
		if at, value, ok := strings.Cut(strings.TrimSpace(line), " is "); ok {
			told[value] = must(strconv.ParseInt(at, 10, 64))(t)
		}
	}

	return told
}

// TestOffsetsAreTheSameOverHoles: wherever a consumer begins, it gets the next record that is there and goes on behind it.
func TestOffsetsAreTheSameOverHoles(t *testing.T) {
	w := through(shared)
	to := dropped(t, w)
	want := map[int64]string{0: "1 3", 1: "1 3", 2: "3", 3: "3", 4: "", 5: "", 6: "6", 7: "", 8: ""}
	ends := map[int64]int64{0: 4, 1: 4, 2: 4, 3: 4, 4: 6, 5: 6, 6: 8, 7: 8, 8: 9}
	for offset := range int64(9) {
		beside, besideNext := fetchOne(t, direct().client(t), to, offset)
		got, next := fetchOne(t, w.client(t), to, offset)
		if got.HighWatermark != beside.HighWatermark || got.LogStartOffset != beside.LogStartOffset || got.LastStableOffset != beside.LastStableOffset {
			t.Errorf("at %d: %+v, beside the gateway %+v", offset, got, beside)
		}

		var seen string
		for _, r := range got.Records {
			if r.Offset < ends[offset] { // brokers give what follows, too
				seen += fmt.Sprintf(" %d", r.Offset)
			}
		}

		if seen != "" {
			seen = seen[1:]
		}
		if seen != want[offset] || next != besideNext {
			t.Errorf("at %d: saw %q and goes on at %d; want %q and %d", offset, seen, next, want[offset], besideNext)
		}
	}
}

func fetchOne(t *testing.T, cl *kgo.Client, topic string, offset int64) (kgo.FetchPartition, int64) {
	t.Helper()
	return fetch(t, cl, topic, 0, offset)
}

// TestAGroupsLagIsTheSameThroughTheGateway: holes count as records do, since offsets do.
func TestAGroupsLagIsTheSameThroughTheGateway(t *testing.T) {
	w := through(shared)
	to := dropped(t, w)
	c := w.client(t, kgo.ConsumerGroup(to), kgo.ConsumeTopics(to), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var last *kgo.Record
	for ctx := patient(t); last == nil || string(last.Value) != "keep 6"; {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
		for _, r := range fetches.Records() {
			last = r
		}
	}

	if err := c.CommitRecords(patient(t), last); err != nil {
		t.Fatal(err)
	}
	for _, w := range []way{direct(), w} {
		lags := must(kadm.NewClient(w.client(t)).Lag(patient(t), to))(t)
		if lag, _ := lags[to].Lag.Lookup(to, 0); lag.Lag != 2 || lag.Commit.At != 7 {
			t.Errorf("%s: lag %d at %d", w.name, lag.Lag, lag.Commit.At)
		}
	}
}
