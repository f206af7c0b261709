package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/exit"
)

// auditStart is when the log of the tests begins.
var auditStart = time.Date(2030, 1, 15, 12, 0, 0, 0, time.UTC)

// writeAuditLog makes a closed log: a module let in, a batch of four records
// of which one was changed and one routed, and a batch that was refused.
func writeAuditLog(dir string) error {
	l, err := openTestLog(dir)
	if err != nil {
		return err
	}

	ctx := context.Background()
	if err := l.Record(ctx, audit.ControlEntry{Kind: audit.KindAdmission, Time: auditStart, Subject: "fraud", Module: testModule(),
		Outcome: "allowed", Revision: "rev1", Steps: []audit.Step{{Name: "author", Verdict: "ok", Detail: "ada@example.com"}}}); err != nil {
		return err
	}

	stored := testBatch(auditStart.Add(time.Minute), audit.OutcomeModified)
	stored.Add(audit.Ruling{}, 2)
	stored.Add(audit.Ruling{Verdict: audit.Modified, Reason: "verdict_header"}, 1)
	stored.Add(audit.Ruling{Verdict: audit.Routed, Reason: "score_high", Route: "alerts"}, 1)

	if err := appendBatch(l, stored, 100); err != nil {
		return err
	}
	refused := testBatch(auditStart.Add(2*time.Minute), audit.OutcomeRejected)
	refused.Add(audit.Ruling{}, 3)
	refused.Add(audit.Ruling{Verdict: audit.Rejected, Reason: "score_too_high"}, 1)

	if err := appendBatch(l, refused, -1); err != nil {
		return err
	}
	return l.Close()
}

// writeClustersLog makes a closed log of two clusters, in which the same
// coordinates exist twice.
func writeClustersLog(dir string) error {
	l, err := openTestLog(dir)
	if err != nil {
		return err
	}

	for _, cluster := range []string{config.MainCluster, "eu"} {
		e := testBatch(auditStart, audit.OutcomeModified)
		e.Cluster = cluster
		e.Principal = "User:" + cluster
		e.Add(audit.Ruling{}, 3)
		e.Add(audit.Ruling{Verdict: audit.Routed, Reason: "score_high", Route: "alerts"}, 1)

		if err := appendBatch(l, e, 40); err != nil {
			return err
		}
	}

	return l.Close()
}

// writeGoneLog makes a closed log of a batch for each of two topics.
func writeGoneLog(dir string) error {
	l, err := openTestLog(dir)
	if err != nil {
		return err
	}

	for _, topic := range []string{"kept", "lost"} {
		e := testBatch(auditStart, audit.OutcomePassed)
		e.Topic = topic
		e.Partition = 0
		e.Add(audit.Ruling{}, 4)
		if err := appendBatch(l, e, 0); err != nil {
			return err
		}
	}
	return l.Close()
}

// writeNotStoredLog makes a closed log of two batches that were to pass, of which
// the broker stored one.
func writeNotStoredLog(dir string) error {
	l, err := openTestLog(dir)
	if err != nil {
		return err
	}

	for _, p := range []audit.Placement{{BaseOffset: 100}, {BaseOffset: -1, ErrorCode: kerr.NotEnoughReplicas.Code}} {
		e := testBatch(auditStart, audit.OutcomePassed)
		e.Add(audit.Ruling{}, 4)

		ticket := l.Append(e, []byte("batch"))
		if err := ticket.Wait(context.Background()); err != nil {
			return err
		}
		l.Place(ticket.Seq(), p)
	}

	return l.Close()
}

// writeSegmentsLog makes a closed log of several segments, with a batch a minute.
func writeSegmentsLog(dir string) error {
	l, err := audit.Open(dir, audit.Options{Key: testAuditKey, Node: "gw", SegmentBytes: 4096, Now: func() time.Time { return auditStart }})
	if err != nil {
		return err
	}

	for i := range 120 {
		e := testBatch(auditStart.Add(time.Duration(i)*time.Minute), audit.OutcomePassed)
		e.Principal = strings.Repeat("x", 200)
		e.Add(audit.Ruling{}, 4)
		if err := appendBatch(l, e, int64(4*i)); err != nil {
			return err
		}
	}
	return l.Close()
}

// testAuditKey is that of each log here.
var testAuditKey = [32]byte{1}

func writeAuditKey(path string) error {
	return os.WriteFile(path, []byte(hex.EncodeToString(testAuditKey[:])), 0o600)
}

func openTestLog(dir string) (*audit.Log, error) {
	return audit.Open(dir, audit.Options{Key: testAuditKey, Node: "gw", Now: func() time.Time { return auditStart }})
}

func testModule() audit.ModuleRef { return audit.ModuleRef{Name: "fraud", Digest: audit.Digest{0xfa}} }

func testBatch(at time.Time, outcome audit.Outcome) *audit.BatchEntry {
	return &audit.BatchEntry{
		Time: at,
		Caller: audit.Caller{ConnID: 1, Principal: "User:ada", ClientID: "till-4", Source: "10.0.0.9",
			TLS: audit.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Fingerprint: audit.Fingerprint{0x5f, 0x3a, 0x91, 0xc2}}},
		Target:    audit.Target{Cluster: config.MainCluster, Topic: "payments", Partition: 0},
		Authority: audit.Authority{Modules: []audit.ModuleRef{testModule()}, PolicyRevision: "rev1"},
		Producer:  audit.Producer{ProducerID: -1},
		Payload:   audit.Payload{Records: 4, BytesIn: 400, BytesOut: 400},
		Outcome:   outcome,
	}
}

// appendBatch binds the batch to its offset, unless base is negative.
func appendBatch(l *audit.Log, e *audit.BatchEntry, base int64) error {
	ticket := l.Append(e, []byte("batch"))
	if err := ticket.Wait(context.Background()); err != nil {
		return err
	}

	if base >= 0 {
		l.Place(ticket.Seq(), audit.Placement{Route: "alerts", BaseOffset: 7})
		l.Place(ticket.Seq(), audit.Placement{BaseOffset: base, AppendTime: e.Time})
	}
	return nil
}

// TestTailFollowsAWritingGateway: what was there comes first, what is new comes
// once, and Ctrl-C is no failure.
func TestTailFollowsAWritingGateway(t *testing.T) {
	dir := t.TempDir()
	l, err := openTestLog(dir)
	if err != nil {
		t.Fatal(err)
	}

	defer l.Close()
	add := func(subject string) {
		t.Helper()
		if err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindConfig, Subject: subject, Outcome: "applied"}); err != nil {
			t.Fatal(err)
		}
	}

	add("first")
	add("second")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, in := io.Pipe()
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"audit", "tail", "-f", "-n", "1", "--kind", "config", "--json", "--dir", dir}, nil, in, io.Discard)
	}()

	lines := bufio.NewScanner(out)
	for i, want := range []string{"second", "third", "fourth"} {
		if i > 0 {
			add(want)
		}
		if !lines.Scan() || !strings.Contains(lines.Text(), `"subject":"`+want+`"`) {
			t.Fatalf("line %d is %q, want subject %s", i, lines.Text(), want)
		}
	}

	interrupt()
	if got := <-code; got != exit.OK {
		t.Fatalf("exit code %d after Ctrl-C, want %d", got, exit.OK)
	}
}
