// Command sarama is the client matrix's program for IBM/sarama.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/IBM/sarama"

	"github.com/guardlock/guardlock/test/clients/scenario"
)

func main() {
	err := scenario.Main(context.Background(), os.Stdin, os.Stdout, open)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sarama:", err)
		os.Exit(1)
	}
}

type client struct {
	bootstrap []string
	security  *scenario.Security
	tls       *tls.Config
}

func open(bootstrap []string, s *scenario.Security) (scenario.Adapter, error) {
	secure, err := s.TLS()
	return client{bootstrap, s, secure}, err
}

func (client) Name() string {
	info, _ := debug.ReadBuildInfo()
	for _, d := range info.Deps {
		if d.Path == "github.com/IBM/sarama" {
			return "sarama " + d.Version
		}
	}
	return "sarama"
}

var codecs = map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}

func (c client) config() *sarama.Config {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V4_0_0_0
	cfg.Consumer.Offsets.Initial = sarama.OffsetOldest
	cfg.Consumer.Offsets.AutoCommit.Enable = false
	cfg.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	cfg.Consumer.Return.Errors = true
	cfg.Producer.Return.Successes = true
	cfg.Producer.RequiredAcks = sarama.WaitForAll
	cfg.Net.TLS.Enable = c.tls != nil
	cfg.Net.TLS.Config = c.tls

	if s := c.security; s != nil {
		cfg.Net.SASL.Enable, cfg.Net.SASL.Mechanism = true, sarama.SASLMechanism(s.Mechanism)
		cfg.Net.SASL.User = s.User
		cfg.Net.SASL.Password = s.Password
		cfg.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{mechanism: s.Mechanism} }
	}

	return cfg
}

func message(b scenario.Batch, r scenario.Record) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{
		Topic:     b.Topic,
		Partition: b.Partition,
		Key:       sarama.StringEncoder(r.Key),
		Value:     sarama.StringEncoder(r.Value),
		Headers:   []sarama.RecordHeader{{Key: []byte("n"), Value: []byte(r.N)}},
	}
}

func record(m *sarama.ConsumerMessage) scenario.Record {
	r := scenario.Record{
		Key:       string(m.Key),
		Value:     string(m.Value),
		Partition: m.Partition,
		Offset:    m.Offset,
	}

	if len(m.Headers) == 1 && string(m.Headers[0].Key) == "n" {
		r.N = string(m.Headers[0].Value)
	}
	return r
}

func (c client) producer(b scenario.Batch, change func(*sarama.Config)) (sarama.SyncProducer, error) {
	cfg := c.config()
	cfg.Producer.Flush.Frequency = 50 * time.Millisecond
	if b.Partition >= 0 {
		cfg.Producer.Partitioner = sarama.NewManualPartitioner
	}
	change(cfg)
	return sarama.NewSyncProducer(c.bootstrap, cfg)
}

func exactlyOnce(cfg *sarama.Config) {
	cfg.Producer.Idempotent = true
	cfg.Net.MaxOpenRequests = 1
}

func (c client) Produce(_ context.Context, b scenario.Batch) ([]string, error) {
	p, err := c.producer(b, func(cfg *sarama.Config) {
		if cfg.Producer.Compression = codecs[b.Codec]; b.Idempotent {
			exactlyOnce(cfg)
		}
	})
	if err != nil {
		return nil, err
	}

	defer p.Close()
	var all []*sarama.ProducerMessage
	for _, r := range b.Records {
		all = append(all, message(b, r))
	}

	failed := make(map[*sarama.ProducerMessage]string)
	var errs sarama.ProducerErrors
	if err := p.SendMessages(all); errors.As(err, &errs) {
		for _, e := range errs {
			failed[e.Msg] = outcome(e.Err)
		}
	} else if err != nil {
		return nil, err
	}

	outcomes := make([]string, len(all))
	for i, m := range all {
		if outcomes[i] = "ok"; failed[m] != "" {
			outcomes[i] = failed[m]
		}
	}

	return outcomes, nil
}

func outcome(err error) string {
	switch {
	case errors.Is(err, sarama.KError(87)): // sarama has no name for INVALID_RECORD
		return "INVALID_RECORD"
	case errors.Is(err, sarama.ErrPolicyViolation):
		return "POLICY_VIOLATION"
	}
	return err.Error()
}

func (c client) Transact(_ context.Context, id string, b scenario.Batch, commit bool) error {
	p, err := c.producer(b, func(cfg *sarama.Config) {
		exactlyOnce(cfg)
		cfg.Producer.Transaction.ID = id
	})
	if err != nil {
		return err
	}

	defer p.Close()
	if err := p.BeginTxn(); err != nil {
		return err
	}

	var all []*sarama.ProducerMessage
	for _, r := range b.Records {
		all = append(all, message(b, r))
	}

	if err := p.SendMessages(all); err != nil {
		return err
	}
	if commit {
		return p.CommitTxn()
	}

	return p.AbortTxn()
}

func (c client) Read(ctx context.Context, topic string, committed bool) ([]scenario.Record, error) {
	cfg := c.config()
	if committed {
		cfg.Consumer.IsolationLevel = sarama.ReadCommitted
	}

	cl, err := sarama.NewClient(c.bootstrap, cfg)
	if err != nil {
		return nil, err
	}

	defer cl.Close()
	consumer, err := sarama.NewConsumerFromClient(cl)
	if err != nil {
		return nil, err
	}

	defer consumer.Close()
	partitions, err := cl.Partitions(topic)
	if err != nil {
		return nil, err
	}

	var got []scenario.Record
	for _, p := range partitions {
		end, err := cl.GetOffset(topic, p, sarama.OffsetNewest)
		if err != nil {
			return nil, err
		}

		recs, err := readPartition(ctx, consumer, topic, p, end)
		if err != nil {
			return nil, err
		}
		got = append(got, recs...)
	}

	return got, nil
}

// readPartition reads to end. sarama hands out no control records and no position, so that where the last record before
// end is a transaction's marker, two seconds without a record are the end, once the broker has answered.
func readPartition(ctx context.Context, c sarama.Consumer, topic string, partition int32, end int64) (got []scenario.Record, err error) {
	if end == 0 {
		return nil, nil
	}
	pc, err := c.ConsumePartition(topic, partition, sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}

	defer pc.Close()
	for {
		select {
		case m := <-pc.Messages():
			if got = append(got, record(m)); m.Offset+1 >= end {
				return got, nil
			}
		case err := <-pc.Errors():
			return nil, err
		case <-time.After(2 * time.Second):
			if pc.HighWaterMarkOffset() >= end {
				return got, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c client) FirstAt(ctx context.Context, topic string, partition int32, offset int64) (scenario.Record, bool, error) {
	consumer, err := sarama.NewConsumer(c.bootstrap, c.config())
	if err != nil {
		return scenario.Record{}, false, err
	}

	defer consumer.Close()
	pc, err := consumer.ConsumePartition(topic, partition, offset)
	if err != nil {
		return scenario.Record{}, false, err
	}

	defer pc.Close()
	select {
	case m := <-pc.Messages():
		return record(m), true, nil
	case err := <-pc.Errors():
		return scenario.Record{}, false, err
	case <-ctx.Done():
		return scenario.Record{}, false, ctx.Err()
	}
}
