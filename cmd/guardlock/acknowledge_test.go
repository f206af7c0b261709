package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/ops"
)

// around is a gateway that found two records which went around it.
type around struct {
	t         *testing.T
	dir       string
	bootstrap string
}

func newAround(t *testing.T) *around {
	t.Helper()
	broker, err := startBroker()
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(broker.Close)
	a := &around{t, t.TempDir(), broker.ListenAddrs()[0]}
	writeFiles(t, a.dir, 0o600, map[string]string{"gw.yaml": fmt.Sprintf(`
node: gw
listen: {address: "127.0.0.1:0"}
broker: {upstream: {bootstrap: [%q]}}
unbound_topics: record
ops: {address: "127.0.0.1:0"}
audit: {insecure_no_sync: true, reconcile: {every: 24h}}
`, a.bootstrap)})

	s := a.serve()
	s.stores(t)
	s.stops(t)
	a.writes("v\nv\n")
	a.finds(1, 2)
	return a
}

func (a *around) log() string { return filepath.Join(a.dir, "data", "audit") }

func (a *around) serve() *served { return serveConfig(a.t, filepath.Join(a.dir, "gw.yaml"), 1) }

// writes stores records on the broker itself.
func (a *around) writes(records string) {
	a.t.Helper()
	var errs bytes.Buffer
	if code := run(a.t.Context(), []string{"produce", "-t", "payments", "-b", a.bootstrap}, strings.NewReader(records), &errs, &errs); code != exit.OK {
		a.t.Fatalf("produce: exit code %d: %s", code, &errs)
	}
}

// finds leaves what a look leaves in the log.
func (a *around) finds(first, last int64) {
	a.t.Helper()
	key, err := disk.ReadKey(filepath.Join(a.dir, "data", "audit.key"))
	if err != nil {
		a.t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(a.bootstrap))
	if err != nil {
		a.t.Fatal(err)
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(a.t.Context(), "payments")
	if err != nil {
		a.t.Fatal(err)
	}

	l, err := audit.Open(a.log(), audit.Options{Key: key, Node: "gw"})
	if err != nil {
		a.t.Fatal(err)
	}
	found := audit.Reconciliation{
		Cluster: "main",
		Outcome: audit.ReconciledBypass,
		Asked:   time.Now(),
		Ended:   time.Now(),
		Classes: []audit.ReconciledClass{{Class: "bypass", Offsets: last - first + 1}},
		Places:  []audit.ReconciledPlace{{Class: "bypass", Topic: "payments", TopicID: topics["payments"].ID, First: first, Last: last}},
	}
	if err := l.Record(context.WithoutCancel(a.t.Context()), found.Entry()); err != nil {
		a.t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		a.t.Fatal(err)
	}
}

func (a *around) acknowledge(want int, offsets string, more ...string) string {
	a.t.Helper()
	args := []string{"audit", "reconcile", "acknowledge", "payments/0", "--dir", a.log(), "--offsets", offsets, "--reason", "INC-812: by hand", "--by", "ada"}
	return guardlock(a.t, want, append(args, more...)...)
}

func (a *around) reconcile() string {
	a.t.Helper()
	return guardlock(a.t, exit.Refused, "audit", "reconcile", "--dir", a.log(), "-b", a.bootstrap)
}

// status is what the gateway tells of the cluster.
func (s *served) reconciled(t *testing.T) *ops.Reconciled {
	t.Helper()
	var status ops.Status
	_, text := told(t, s.ops+"/status", "", "")
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return status.Clusters[0].Reconciled
}

// TestBypassThatSomebodyAcknowledgedIsToldWithHisName: by commands alone, beside a gateway
// that runs. It alarms no more, other offsets do, and the bypass stays one.
func TestBypassThatSomebodyAcknowledgedIsToldWithHisName(t *testing.T) {
	a := newAround(t)
	s := a.serve()
	eventually(t, "the gateway tells what it found before it was started", func() bool {
		r := s.reconciled(t)
		return r.Outcome == audit.ReconciledBypass && strings.Join(r.Places, ", ") == "bypass payments/0 1-2"
	})

	saysAll(t, a.acknowledge(exit.NotFound, "1-3"), "the last look of the gateway found no bypass there", "bypass payments/0 1-2", "hint: guardlock status")
	saysAll(t, a.acknowledge(exit.NotFound, "3"), "it found bypass payments/0 1-2\n", "--kind reconciliation")
	saysAll(t, a.acknowledge(exit.Usage, "2-1"), "2-1 is no range of offsets")
	saysAll(t, a.acknowledge(exit.Failure, "1-2", "--audit-key", filepath.Join(a.dir, "nowhere")), "nowhere")
	saysAll(t, a.acknowledge(exit.OK, "1-2"), `acknowledged payments/0 1-2 by ada: "INC-812: by hand"`)
	saysAll(t, a.acknowledge(exit.Failure, "1-2"), "acknowledged already")

	eventually(t, "the gateway records it, and looks again", func() bool {
		return s.reconciled(t).Outcome == audit.ReconciledAcknowledged
	})
	saysAll(t, a.acknowledge(exit.Failure, "1-2"), "acknowledged already", "--kind acknowledgement")
	saysAll(t, a.acknowledge(exit.Failure, "2"), "acknowledged already")
	saysAll(t, a.acknowledge(exit.NotFound, "3-4"), "it found none anywhere")
	s.measures(t, `guardlock_reconcile_offsets{class="bypass",cluster="main"}`, true)
	s.measures(t, `guardlock_reconcile_offsets{class="acknowledged",cluster="main"}`, false)
	saysAll(t, guardlock(t, exit.OK, "audit", "query", "--dir", a.log(), "--kind", "acknowledgement", "--principal", "ada"), "acknowledged", "payments/0 1-2", "INC-812: by hand")
	saysAll(t, guardlock(t, exit.OK, "audit", "query", "--dir", a.log(), "--kind", "reconciliation", "--latest", "1", "--json"), "acknowledged payments/0 1-2")

	saysAll(t, a.reconcile(), "1 to 2  bypass, 2 records", `acknowledged by ada 20`, `"INC-812: by hand"`, "2 records stored without a decision, all of them acknowledged")
	a.writes("v\n")
	saysAll(t, a.reconcile(), "3 to 3  bypass, 1 record", "3 records stored without a decision, 2 of them acknowledged", "somebody wrote to the brokers themselves")
	s.stops(t)
}

// TestFileOfAcknowledgementsThatCannotBeReadAlarmsOn: it is said, and nothing is recorded.
func TestFileOfAcknowledgementsThatCannotBeReadAlarmsOn(t *testing.T) {
	a := newAround(t)
	a.acknowledge(exit.OK, "1")
	writeFiles(t, a.log(), 0o600, map[string]string{audit.AcknowledgementsName: `{"format": "guardlock acknowledgements v1", "acknowledgements": []}`})
	saysAll(t, a.acknowledge(exit.Refused, "2-2"), "what was acknowledged cannot be read", "remove the file acknowledgements")

	s := a.serve()
	s.says(t, "what was acknowledged: it alarms until this is repaired")
	if r := s.reconciled(t); r.Outcome != audit.ReconciledBypass {
		t.Errorf("%+v", r)
	}
	if out := guardlock(t, exit.OK, "audit", "query", "--dir", a.log(), "--kind", "acknowledgement"); strings.Contains(out, "payments/0") {
		t.Errorf("it was recorded: %s", out)
	}
	s.stops(t)
}
