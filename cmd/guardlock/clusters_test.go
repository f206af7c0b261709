package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/internal/exit"
)

const twoClusters = `
clusters:
  - name: main
    listen: {address: "127.0.0.1:0"}
    broker: {embedded: {insecure_no_sync: true}}
  - name: eu
    listen: {address: "127.0.0.1:0"}
    broker: {embedded: {insecure_no_sync: true}}
bindings:
  - name: payments-of-eu
    cluster: eu
    topics: [payments]
unbound_topics: record
audit: {insecure_no_sync: true}
`

var readyLine = regexp.MustCompile(`^guardlock: cluster (\w+) is ready on (\S+)$`)

// served is a gateway under serve, in this process.
type served struct {
	addr map[string]string // by cluster
	ops  string            // where operators are answered
	stop func() int        // returns the exit code
	log  *gatewayLog
}

// gatewayLog is what a gateway writes to standard error while it serves.
type gatewayLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *gatewayLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *gatewayLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func serveConfig(t *testing.T, path string, clusters int) *served {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.WithoutCancel(t.Context()))
	out, in := io.Pipe()
	errs := new(gatewayLog)
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--config", path}, nil, in, errs)
		in.Close()
	}()

	s := &served{addr: map[string]string{}, log: errs, stop: func() int { interrupt(); return <-code }}
	lines := bufio.NewScanner(out)
	for len(s.addr) < clusters && lines.Scan() {
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			s.addr[m[1]] = m[2]
		}
		if m := opsLine.FindStringSubmatch(lines.Text()); m != nil {
			s.ops = m[1]
		}
	}

	go io.Copy(io.Discard, out)
	if len(s.addr) < clusters {
		t.Fatalf("serve ended with code %d:\n%s", s.stop(), errs)
	}

	return s
}

// producedAndRead stores one record as whoever asks, and reads the topic back.
func producedAndRead(t *testing.T, addr, value string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumeTopics("payments"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}

	defer c.Close()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "payments", Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatalf("producing to %s: %v", addr, err)
	}

	var got []string
	for len(got) == 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading from %s: %v", addr, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}

	return got
}

// TestEachClusterOfAConfigurationIsServedByItself: the same topic in both holds
// what was produced to that one, and the log tells them apart.
func TestEachClusterOfAConfigurationIsServedByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guardlock.yaml")
	if err := os.WriteFile(path, []byte(twoClusters), 0o600); err != nil {
		t.Fatal(err)
	}

	s := serveConfig(t, path, 2)
	for _, cluster := range []string{"main", "eu"} {
		if got := producedAndRead(t, s.addr[cluster], "for "+cluster); len(got) != 1 || got[0] != "for "+cluster {
			t.Errorf("%s holds %q", cluster, got)
		}
	}

	if code := s.stop(); code != exit.OK {
		t.Errorf("exit code %d", code)
	}
	r, err := query.Open(filepath.Join(filepath.Dir(path), "data", "audit"))
	if err != nil {
		t.Fatal(err)
	}

	defer r.Close()
	partition := int32(0)
	offset := int64(0)
	var found []string
	for d, err := range r.Query(t.Context(), query.Filter{Topics: []string{"payments"}, Partition: &partition, Offset: &offset}) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, d.Cluster)
	}

	if len(found) != 2 || found[0] != "main" || found[1] != "eu" {
		t.Errorf("the record at payments/0@0 was decided in %q, want once in each cluster", found)
	}
}
