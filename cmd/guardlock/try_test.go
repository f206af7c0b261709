package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/internal/exit"
)

// trialReport is what these tests read of `module try --json`.
type trialReport struct {
	Records     int
	Interrupted bool
	Results     []struct {
		Outcome string
		Records int
	}
	Differences struct {
		Records, Keys, Values, Headers int
	}
}

// tryOn runs `module try` of uppercase on a topic.
func tryOn(ctx context.Context, t *testing.T, address string, more ...string) (trialReport, int) {
	t.Helper()
	args := append([]string{"module", "try", "-b", address, "--modules", "../../transforms/modules/uppercase", "--json"}, more...)
	var out, stderr bytes.Buffer
	code := run(ctx, args, nil, &out, &stderr)

	var report trialReport
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatalf("%v: %s", err, &out)
		}
	}
	if code == exit.Failure {
		t.Fatal(&stderr)
	}

	return report, code
}

// asked notes which kinds of request a broker is sent.
func asked(broker *kfake.Cluster) func() []kmsg.Key {
	var mu sync.Mutex
	seen := map[kmsg.Key]bool{}
	broker.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		seen[kmsg.Key(req.Key())] = true
		return nil, nil, false
	})

	return func() []kmsg.Key {
		mu.Lock()
		defer mu.Unlock()
		var keys []kmsg.Key
		for k := range seen {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		return keys
	}
}

func newTopic(t *testing.T, partitions int32, opts ...kgo.Opt) (*kfake.Cluster, *kgo.Client) {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)

	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(broker.ListenAddrs()...), kgo.DefaultProduceTopic("t"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)

	return broker, client
}

func produce(t *testing.T, client *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// TestTryingAModuleWritesNothing: a broker is asked what there is, and for it.
func TestTryingAModuleWritesNothing(t *testing.T) {
	broker, client := newTopic(t, 2)
	for n := range 10 {
		produce(t, client, &kgo.Record{Value: []byte("shout"), Partition: int32(n % 2)})
	}

	client.Close() // which would be noted, too

	keys := asked(broker)
	if report, code := tryOn(t.Context(), t, broker.ListenAddrs()[0], "--topic", "t", "--last", "7"); code != exit.OK || report.Records != 7 {
		t.Fatalf("exit code %d, %+v", code, report)
	}

	reading := []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata, kmsg.ApiVersions}
	for _, k := range keys() {
		if !slices.Contains(reading, k) {
			t.Errorf("it sent a request %s", k.Name())
		}
	}
	if !slices.Contains(keys(), kmsg.Fetch) {
		t.Error("no request was noted")
	}
}

// TestTryingReadsWhatAConsumerWould: compressed batches of each codec, tombstones,
// null keys and headers; of transactions the committed ones, of which the marks are no
// records.
func TestTryingReadsWhatAConsumerWould(t *testing.T) {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for n, codec := range codecs {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			broker, client := newTopic(t, 1, kgo.ProducerBatchCompression(codec))
			produce(t, client,
				&kgo.Record{Value: bytes.Repeat([]byte("shout "), 100)},
				&kgo.Record{Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "a"}, {Key: "a", Value: []byte("b")}}},
				&kgo.Record{Value: []byte("LOUD")},
			)

			report, _ := tryOn(t.Context(), t, broker.ListenAddrs()[0], "--topic", "t")
			if report.Records != 3 || report.Differences.Values != 1 || report.Differences.Keys+report.Differences.Headers != 0 {
				t.Fatalf("%+v", report)
			}
		})
	}

	broker, client := newTopic(t, 1, kgo.TransactionalID("x"))
	for n := range 20 {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, client, &kgo.Record{Value: []byte("shout")})
		if err := client.EndTransaction(t.Context(), n%2 == 0); err != nil {
			t.Fatal(err)
		}
	}

	// Of 40 offsets, 10 are records that count: more than the last 8 offsets hold.
	for last, want := range map[string]int{"8": 8, "10": 10, "1000": 10} {
		report, code := tryOn(t.Context(), t, broker.ListenAddrs()[0], "--topic", "t", "--last", last)
		if code != exit.OK || report.Records != want {
			t.Errorf("--last %s: exit code %d, %d records, want %d", last, code, report.Records, want)
		}
	}
}

// TestInterruptedTrialSaysWhatItSaw: the broker sends some, and is then held up until
// the person has had enough.
func TestInterruptedTrialSaysWhatItSaw(t *testing.T) {
	broker, client := newTopic(t, 1)
	for range 4 {
		produce(t, client, &kgo.Record{Value: []byte("shout")})
	}

	ctx, interrupt := context.WithCancel(t.Context())
	counted, again := false, false
	broker.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		fetch := req.(*kmsg.FetchRequest)
		if len(fetch.Topics) > 0 {
			at := fetch.Topics[0].Partitions[0].FetchOffset
			counted = counted || at >= 3
			again = again || counted && at == 0
			// After counting, the beginning is asked for again. Whoever asks for the third
			// has taken the second, and so is through with the first.
			if again && at >= 2 {
				interrupt()
			}
		}
		fetch.MaxBytes = 1 // one batch at a time
		return nil, nil, false
	})

	report, code := tryOn(ctx, t, broker.ListenAddrs()[0], "--topic", "t")
	if code != exit.Interrupted || !report.Interrupted || report.Records == 0 || report.Records > 4 {
		t.Fatalf("exit code %d, %+v", code, report)
	}
}
