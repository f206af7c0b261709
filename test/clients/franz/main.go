// Command franz is the client matrix's program for franz-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/guardlock/guardlock/test/clients/scenario"
)

func main() {
	err := scenario.Main(context.Background(), os.Stdin, os.Stdout, open)
	if err != nil {
		fmt.Fprintln(os.Stderr, "franz:", err)
		os.Exit(1)
	}
}

type franz struct{ opts []kgo.Opt }

func open(bootstrap []string, s *scenario.Security) (scenario.Adapter, error) {
	f := franz{[]kgo.Opt{kgo.SeedBrokers(bootstrap...)}}
	if s == nil {
		return f, nil
	}

	secure, err := s.TLS()
	if secure != nil {
		f.opts = append(f.opts, kgo.DialTLSConfig(secure))
	}

	login := scram.Auth{User: s.User, Pass: s.Password}
	switch s.Mechanism {
	case "PLAIN":
		f.opts = append(f.opts, kgo.SASL(plain.Auth{User: s.User, Pass: s.Password}.AsMechanism()))
	case "SCRAM-SHA-256":
		f.opts = append(f.opts, kgo.SASL(login.AsSha256Mechanism()))
	default:
		f.opts = append(f.opts, kgo.SASL(login.AsSha512Mechanism()))
	}

	return f, err
}

func (franz) Name() string {
	info, _ := debug.ReadBuildInfo()
	for _, d := range info.Deps {
		if d.Path == "github.com/twmb/franz-go" {
			return "franz-go " + d.Version
		}
	}
	return "franz-go"
}

var codecs = map[string]kgo.CompressionCodec{"": kgo.NoCompression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}

func (f franz) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(opts, f.opts...)...)
}

func kafkaRecord(b scenario.Batch, r scenario.Record) *kgo.Record {
	return &kgo.Record{
		Topic:     b.Topic,
		Partition: b.Partition,
		Key:       []byte(r.Key),
		Value:     []byte(r.Value),
		Headers:   []kgo.RecordHeader{{Key: "n", Value: []byte(r.N)}},
	}
}

func ourRecord(r *kgo.Record) scenario.Record {
	rec := scenario.Record{
		Key:       string(r.Key),
		Value:     string(r.Value),
		Partition: r.Partition,
		Offset:    r.Offset,
	}

	if len(r.Headers) == 1 && r.Headers[0].Key == "n" {
		rec.N = string(r.Headers[0].Value)
	}
	return rec
}

func (f franz) Produce(ctx context.Context, b scenario.Batch) ([]string, error) {
	opts := []kgo.Opt{kgo.ProducerBatchCompression(codecs[b.Codec]), kgo.ProducerLinger(50 * time.Millisecond),
		kgo.RecordDeliveryTimeout(20 * time.Second)}
	if !b.Idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	if b.Partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}

	cl, err := f.client(opts...)
	if err != nil {
		return nil, err
	}

	defer cl.Close()
	outcomes := make([]string, len(b.Records))
	for i, r := range b.Records {
		cl.Produce(ctx, kafkaRecord(b, r), func(_ *kgo.Record, err error) { outcomes[i] = outcome(err) })
	}

	return outcomes, cl.Flush(ctx)
}

func outcome(err error) string {
	var k *kerr.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &k):
		return k.Message
	}

	return err.Error()
}

func (f franz) Transact(ctx context.Context, id string, b scenario.Batch, commit bool) error {
	cl, err := f.client(kgo.TransactionalID(id))
	if err != nil {
		return err
	}

	defer cl.Close()
	if err := cl.BeginTransaction(); err != nil {
		return err
	}

	for _, r := range b.Records {
		cl.Produce(ctx, kafkaRecord(b, r), nil)
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}

	return cl.EndTransaction(ctx, kgo.TransactionEndTry(commit))
}

func (f franz) Read(ctx context.Context, topic string, committed bool) ([]scenario.Record, error) {
	level := kgo.ReadUncommitted()
	if committed {
		level = kgo.ReadCommitted()
	}

	cl, err := f.client(kgo.FetchIsolationLevel(level), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}

	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}

	from := make(map[int32]kgo.Offset)
	left := make(map[int32]int64)
	ends.Each(func(o kadm.ListedOffset) {
		if from[o.Partition] = kgo.NewOffset().AtStart(); o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})

	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	return readTo(ctx, cl, left)
}

// readTo polls until every partition of left has come to its end. franz-go tells its position by records only: the
// last one of each partition must be there, be it a control record.
func readTo(ctx context.Context, cl *kgo.Client, left map[int32]int64) ([]scenario.Record, error) {
	var got []scenario.Record
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("partitions %v have no end", left)
		}
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				got = append(got, ourRecord(r))
			}
		})
	}

	return got, nil
}

func (f franz) FirstAt(ctx context.Context, topic string, partition int32, offset int64) (scenario.Record, bool, error) {
	cl, err := f.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}))
	if err != nil {
		return scenario.Record{}, false, err
	}

	defer cl.Close()
	fs := cl.PollRecords(ctx, 1)
	if recs := fs.Records(); len(recs) > 0 {
		return ourRecord(recs[0]), true, nil
	}

	return scenario.Record{}, false, fs.Err0()
}

func (f franz) Join(group, topic string) (scenario.Member, error) {
	m := &member{assigned: make(map[int32]bool)}
	note := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, ps map[string][]int32) { m.note(has, ps[topic]) }
	}

	cl, err := f.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsAssigned(note(true)), kgo.OnPartitionsRevoked(note(false)), kgo.OnPartitionsLost(note(false)))
	m.cl = cl
	return m, err
}

type member struct {
	cl       *kgo.Client
	mu       sync.Mutex
	assigned map[int32]bool // guarded by mu
}

func (m *member) note(has bool, ps []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range ps {
		if delete(m.assigned, p); has {
			m.assigned[p] = true
		}
	}
}

func (m *member) Assignment() (ps []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.assigned {
		ps = append(ps, p)
	}
	return ps
}

func (m *member) Poll(ctx context.Context) (recs []scenario.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	m.cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { recs = append(recs, ourRecord(r)) })
	return recs, nil
}

func (m *member) Commit(ctx context.Context) error { return m.cl.CommitUncommittedOffsets(ctx) }

func (m *member) Close() error {
	m.cl.Close()
	return nil
}
