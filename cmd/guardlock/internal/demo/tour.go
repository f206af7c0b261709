package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
)

func isTopicExists(err error) bool { return errors.Is(err, kerr.TopicAlreadyExists) }

// run is the tour, one stop after the other. It ends at the first that fails.
func (t *tour) run(ctx context.Context) error {
	t.heading("Guardlock demo: one gateway, three signed modules, one decision log")
	fmt.Fprintf(t.out, "clients connect to %s; the embedded broker has no port of its own\n", t.palette.Bold(t.address))
	for _, stop := range []func(context.Context) error{t.createTopics, t.stream, t.beforeAndAfter, t.rejected, t.counts} {
		if err := stop(ctx); err != nil {
			return err
		}
	}

	return nil
}

func (t *tour) heading(s string) { fmt.Fprintf(t.out, "\n%s\n", t.palette.Bold(s)) }

// stream sends the sample data and waits until every record is acknowledged or
// refused.
func (t *tour) stream(ctx context.Context) error {
	t.heading(fmt.Sprintf("1. Streaming %s records through the gateway", humanize.Comma(int64(t.options.records))))
	c, err := t.client(kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}

	defer c.Close()
	records := t.generate()
	bar := cli.NewProgress(t.err, t.bytes)
	var failed atomic.Pointer[error]
	started := time.Now()

	for _, r := range records {
		c.Produce(ctx, &kgo.Record{Topic: r.topic, Key: []byte(r.key), Value: r.value}, func(r *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
			bar.Add(1, len(r.Key)+len(r.Value)) // promises run one at a time
		})
	}

	err = c.Flush(ctx)
	bar.Finish()
	t.took = time.Since(started)
	t.sent = t.options.records

	if p := failed.Load(); p != nil {
		return fmt.Errorf("streaming: %w", *p)
	}
	if err != nil {
		return fmt.Errorf("streaming: %w", err)
	}

	perSecond := float64(t.sent) / t.took.Seconds()
	fmt.Fprintf(t.out, "%s records acknowledged in %s: %s records/s, %s/s; every decision was on disk before its record\n",
		humanize.Comma(int64(t.sent)), t.took.Round(time.Millisecond), humanize.Comma(int64(perSecond)),
		humanize.Bytes(uint64(float64(t.bytes)/t.took.Seconds())))

	return nil
}

// generate makes all records ahead, so that the throughput shown is the
// gateway's and not the generator's.
func (t *tour) generate() []demoRecord {
	g := newGenerator(t.options.seed, time.Now())
	t.originals = map[string][]byte{}
	records := make([]demoRecord, t.options.records)
	for i := range records {
		r := g.next(i)
		if i < 30 {
			t.originals[r.topic+"/"+r.key] = r.value
		}
		t.bytes += int64(len(r.key) + len(r.value))
		records[i] = r
	}

	return records
}

// beforeAndAfter shows a customer and a routed payment, as they were sent and
// as they are stored.
func (t *tour) beforeAndAfter(ctx context.Context) error {
	t.heading("2. What was sent, and what is stored")
	c, err := t.client(kgo.ConsumeTopics("customers", "sensors", "payments"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}

	defer c.Close()
	shown := map[string]bool{}
	var looked *kgo.Record
	for len(shown) < 3 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading back: %w", err)
		}

		fetches.EachRecord(func(r *kgo.Record) {
			before, ok := t.originals[r.Topic+"/"+string(r.Key)]
			if !ok || shown[r.Topic] {
				return
			}

			shown[r.Topic] = true
			t.show(r, before)
			if r.Topic == "customers" {
				looked = r
			}
		})
	}

	return t.lookup(ctx, looked)
}

func (t *tour) show(r *kgo.Record, before []byte) {
	fmt.Fprintf(t.out, "%s partition %d offset %d\n", t.palette.Bold(r.Topic), r.Partition, r.Offset)
	fmt.Fprintf(t.out, "  %s %s\n", t.palette.Dim("before"), before)
	if string(before) == string(r.Value) {
		fmt.Fprintf(t.out, "  %s  the value is as it was%s\n", t.palette.Dim("after"), headersText(r.Headers))
		return
	}
	fmt.Fprintf(t.out, "  %s  %s%s\n", t.palette.Dim("after"), t.palette.Green(string(r.Value)), headersText(r.Headers))
}

func headersText(headers []kgo.RecordHeader) string {
	if len(headers) == 0 {
		return ""
	}
	var parts []string
	for _, h := range headers {
		parts = append(parts, h.Key+"="+string(h.Value))
	}

	return "; headers: " + strings.Join(parts, ", ")
}

// lookup asks the decision log about one offset. The binding of the offset is
// flushed a moment after the acknowledgement, so the answer may take that long.
func (t *tour) lookup(ctx context.Context, r *kgo.Record) error {
	t.heading(fmt.Sprintf("3. The decision about %s partition %d offset %d", r.Topic, r.Partition, r.Offset))
	d, err := t.decisionAt(ctx, r)
	if err != nil {
		return err
	}

	t.compared = d.ID
	fmt.Fprintf(t.out, "  decision   %s\n  outcome    %s (%s)\n  module     %s %.19s…\n  principal  %s from %s, client %s\n  policy     %.12s\n",
		d.ID, d.Outcome, d.Reason, d.Module.Name, d.Module.Digest, d.Principal, d.Source, d.ClientID, d.Batch.PolicyRevision)
	return nil
}

func (t *tour) decisionAt(ctx context.Context, r *kgo.Record) (query.Decision, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		for d, err := range query.New(t.stack.Decisions().Reader()).Query(ctx, query.Filter{
			Topics:    []string{r.Topic},
			Partition: &r.Partition,
			Offset:    &r.Offset,
			Limit:     1,
		}) {
			return d, err
		}
		select {
		case <-ctx.Done():
			return query.Decision{}, fmt.Errorf("no decision is bound to %s %d@%d", r.Topic, r.Partition, r.Offset)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// rejected sends one payment that the fraud module must refuse. The gateway says
// why in its answer; kgo reports the error code alone, so the tap reads along.
func (t *tour) rejected(ctx context.Context) error {
	t.heading("4. A payment with a stolen card")
	tap := kafka.NewTap()
	c, err := t.client(kgo.Dialer(tap.Wrap(new(net.Dialer).DialContext)))
	if err != nil {
		return err
	}

	defer c.Close()
	r := newGenerator(t.options.seed+1, time.Now()).payment(9_999_999, stolen)
	fmt.Fprintf(t.out, "  sent       %s\n", r.value)

	sent := c.ProduceSync(ctx, &kgo.Record{Topic: r.topic, Key: []byte(r.key), Value: r.value})[0]
	if sent.Err == nil {
		return errors.New("the gateway took a payment that it must reject")
	}

	answer, _ := tap.Failure(sent.Record.Partition)
	why := kafka.NewReported(answer.Message, answer.Named[0], 0)
	fmt.Fprintf(t.out, "  client got %s\n", t.palette.Red(fmt.Sprintf("%s: %s (decision %s)", kafka.ErrorName(sent.Err), why.Message, why.Decision)))

	for d, err := range query.New(t.stack.Decisions().Reader()).Query(ctx, query.Filter{
		Topics:   []string{r.topic},
		Outcomes: []string{"rejected"},
		Reverse:  true,
		Limit:    1,
	}) {
		if err != nil {
			return err
		}
		fmt.Fprintf(t.out, "  the log    %s: rejected by %s, reason %s; nothing was stored\n", t.palette.Bold(d.ID.String()), d.Module.Name, t.palette.Bold(d.Reason))
		fmt.Fprintf(t.out, "  more       %s audit show %s --dir %s\n", cli.Program(), d.ID, cli.ShellWord(t.logDir()))
		return nil
	}

	return errors.New("the rejection is not in the decision log")
}

func (t *tour) logDir() string { return t.config.File(t.config.Audit.Dir) }

// counts sums up the decisions by outcome and module.
func (t *tour) counts(ctx context.Context) error {
	t.heading("5. All decisions")
	tb := cli.NewTable("MODULE", "TOPIC", "OUTCOME", "RECORDS")
	for _, m := range demoModules {
		totals, err := query.New(t.stack.Decisions().Reader()).Summarize(ctx, query.Filter{Topics: []string{m.topics[0]}, Kinds: []audit.Kind{audit.KindBatch}})
		if err != nil {
			return err
		}
		for _, o := range slices.Sorted(maps.Keys(totals.Outcomes)) {
			tb.Add(m.name, m.topics[0], o, humanize.Comma(totals.Outcomes[o]))
		}
	}

	return tb.Write(t.out)
}

// nextSteps prints lines that work as they stand, in another terminal.
func (t *tour) nextSteps() {
	t.heading("The gateway keeps serving. In another terminal:")
	fmt.Fprintf(t.out, `  echo '{"customer":{"name":"Ada","email":"ada@example.com"},"payment":{"iban":"DE1"}}' | %[1]s produce --bootstrap %[2]s --topic customers
  echo '{"amount":900000,"currency":"EUR","country":"KP"}' | %[1]s produce --bootstrap %[2]s --topic payments
  echo '{"customer":{"email":"ada@example.com"}}' | kcat -b %[2]s -P -t customers
  kcat -b %[2]s -C -t customers -o -3 -e -q
  %[1]s consume --bootstrap %[2]s --topic payments-review --count 3
  %[1]s audit query --dir %[3]s --outcome rejected --latest 5
  %[1]s audit tail --dir %[3]s
  %[1]s audit compare %[5]s --bootstrap %[2]s --dir %[3]s
  %[1]s module inspect %[4]s/gdpr.wasm
  %[1]s status --url %[6]s
  curl %[6]s/metrics
Ctrl-C ends it.
`, cli.Program(), t.address, cli.ShellWord(t.logDir()), cli.ShellWord(t.dir), t.compared, t.stack.OpsURL())
}
