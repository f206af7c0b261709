package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/ops"
	"github.com/guardlock/guardlock/internal/reconciling"
)

// reconcilingGateway is one that serves in front of a cluster, and looks when it is told.
type reconcilingGateway struct {
	*Server
	t    *testing.T
	dir  string // of its decision log
	stop func()
}

// impatient waits for nothing.
var impatient = patience{retry: time.Second}

func serveReconciling(t *testing.T, kafka, node, settings string) *reconcilingGateway {
	t.Helper()
	yaml := fmt.Sprintf("node: %s\nlisten: {address: \"127.0.0.1:0\"}\nbroker: {upstream: {bootstrap: [%q]}}\nunbound_topics: record\nops: {address: \"127.0.0.1:0\"}\naudit: {reconcile: {%s}}\n",
		node, kafka, settings)
	return startReconciling(t, must(config.Parse([]byte(yaml), filepath.Join(t.TempDir(), "guardlock.yaml"))))
}

func startReconciling(t *testing.T, cfg *config.Config) *reconcilingGateway {
	t.Helper()
	g := &reconcilingGateway{t: t, dir: cfg.File(cfg.Audit.Dir)}
	g.Server = must(Open(t.Context(), cfg, NewLogger(config.Log{}, new(lockedBuffer))))
	g.reconciled.again = nil // it looks when the test does, and not beside it

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready := make(chan struct{}, 1)
	var ends sync.WaitGroup
	ends.Go(func() {
		if err := g.Run(ctx, func(string) { ready <- struct{}{} }); err != nil {
			t.Error(err)
		}
	})
	g.stop = sync.OnceFunc(func() {
		cancel()
		ends.Wait()
		g.Close(context.WithoutCancel(ctx))
	})
	t.Cleanup(g.stop)
	<-ready
	return g
}

// produce sends records through the gateway.
func (g *reconcilingGateway) produce(topic string, records int) {
	g.t.Helper()
	produceTo(g.t, g.Addr(config.MainCluster), topic, records)
}

func produceTo(t *testing.T, address, topic string, records int) {
	t.Helper()
	c := must(kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner())))
	defer c.Close()
	for range records {
		if err := c.ProduceSync(t.Context(), kgo.StringRecord("v")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// look looks once, and gives the entry that the log has of it.
func (g *reconcilingGateway) look() query.Decision {
	g.t.Helper()
	g.reconcile(g.t.Context(), impatient)
	r := must(query.Open(g.dir))
	defer r.Close()
	var last query.Decision
	for d, err := range r.Query(g.t.Context(), query.Filter{Kinds: []audit.Kind{audit.KindReconciliation}}) {
		if err != nil {
			g.t.Fatal(err)
		}
		last = d
	}
	if last.Control == nil {
		g.t.Fatal("the log says nothing of the look")
	}
	return last
}

// tells is what operators are told: whether /metrics has a line.
func (g *reconcilingGateway) tells(line string) bool {
	return strings.Contains(g.get("/metrics"), "\n"+line)
}

func (g *reconcilingGateway) get(path string) string {
	g.t.Helper()
	resp, err := http.Get(g.OpsURL() + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	return string(must(io.ReadAll(resp.Body)))
}

func (g *reconcilingGateway) status() *ops.Reconciled {
	g.t.Helper()
	var s ops.Status
	if err := json.Unmarshal([]byte(g.get("/status")), &s); err != nil || len(s.Clusters) != 1 {
		g.t.Fatalf("%+v, %v", s, err)
	}
	return s.Clusters[0].Reconciled
}

func factsOf(d query.Decision, key string) (all []string) {
	for _, f := range d.Control.Facts {
		if f.Key == key {
			all = append(all, f.Value)
		}
	}
	return all
}

// TestRecordStoredAroundTheGatewayIsFoundByIt, and told: in the log, as a metric and in
// the status. What could not be looked at is never fine, and what was found stays told.
func TestRecordStoredAroundTheGatewayIsFoundByIt(t *testing.T) {
	kafka := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t", "lost")))
	defer kafka.Close()
	g := serveReconciling(t, kafka.ListenAddrs()[0], "gw-a", "every: 1h")

	if !g.tells(`guardlock_reconcile_age_seconds{cluster="main"}`) || g.status().Outcome != "" {
		t.Error("before the first look there is no age, or there was a look")
	}
	if d := g.look(); d.Outcome != audit.NotReconciled || !strings.Contains(d.Control.Fact("problem"), "nothing was compared") {
		t.Errorf("without any decision: %+v", d.Control)
	}

	g.produce("t", 3)
	g.produce("lost", 2)
	d := g.look()
	if d.Outcome != audit.ReconciledComplete || d.Control.Subject != "main" || d.Control.Fact("offsets") != "5" || d.Control.Fact("partitions") != "2" || len(factsOf(d, "log")) != 1 {
		t.Errorf("nothing went around: %+v", d.Control)
	}
	if s := g.status(); s.Outcome != audit.ReconciledComplete || s.Concluded.IsZero() || s.Classes["bypass"] != 0 {
		t.Errorf("%+v", s)
	}
	if !g.tells(`guardlock_reconcile_outcome{cluster="main",outcome="complete"} 1`) || !g.tells(`guardlock_reconcile_offsets{class="bypass",cluster="main"} 0`) {
		t.Error(g.get("/metrics"))
	}

	produceTo(t, kafka.ListenAddrs()[0], "t", 2)
	g.produce("t", 1)
	if _, err := kadm.NewClient(must(g.gateway.Cluster("main").Client())).DeleteTopics(t.Context(), "lost"); err != nil {
		t.Fatal(err)
	}
	d = g.look()
	if places := strings.Join(factsOf(d, "at"), ", "); d.Outcome != audit.ReconciledBypass || places != "gone lost/0 0-1, bypass t/0 3-4" || d.Control.Fact("offsets.bypass") != "2" || d.Control.Fact("gone") != "1" {
		t.Errorf("two records went around, and a topic is gone: %+v", d.Control)
	}

	kafka.Close()
	if d := g.look(); d.Outcome != audit.NotReconciled || d.Control.Fact("problem") == "" || d.Control.Fact("partitions") != "0" {
		t.Errorf("with no broker to ask: %+v", d.Control)
	}
	s := g.status()
	if s.Outcome != audit.NotReconciled || s.Problem == "" || s.Concluded.IsZero() {
		t.Errorf("%+v", s)
	}
	for _, line := range []string{
		`guardlock_reconcile_offsets{class="bypass",cluster="main"} 2`,
		`guardlock_reconcile_partitions{cluster="main",state="gone"} 1`,
		`guardlock_reconcile_outcome{cluster="main",outcome="not_concluded"} 1`,
		`guardlock_reconcile_runs_total{cluster="main",outcome="bypass"} 1`,
		`guardlock_reconcile_every_seconds{cluster="main"} 3600`,
	} {
		if !g.tells(line) {
			t.Errorf("/metrics has no %s", line)
		}
	}
}

// again is the same gateway after a restart.
func (g *reconcilingGateway) again() *reconcilingGateway {
	g.t.Helper()
	g.stop()
	return startReconciling(g.t, g.cfg)
}

// acknowledge does as the command does.
func (g *reconcilingGateway) acknowledge(first, last int64) {
	g.t.Helper()
	ack := audit.Acknowledgement{Cluster: "main", Topic: "t", First: first, Last: last, By: "ada", Reason: "INC-812", Given: time.Now()}
	if _, err := audit.Acknowledge(g.t.Context(), audit.FilesIn(g.dir), must(g.auditKeys()), ack); err != nil {
		g.t.Fatal(err)
	}
	g.lookBeside(g.t.Context(), g.acknowledged())
}

// TestBypassIsToldOverARestart: in the status and as a metric, from the decision log, until
// a look that concludes says something else.
func TestBypassIsToldOverARestart(t *testing.T) {
	kafka := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t")))
	defer kafka.Close()
	g := serveReconciling(t, kafka.ListenAddrs()[0], "gw-a", "every: 1h")
	g.produce("t", 1)
	produceTo(t, kafka.ListenAddrs()[0], "t", 2)
	g.produce("t", 1)
	g.look()
	kafka.ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		return nil, errors.New("no ends"), true
	})
	g.look() // concludes nothing

	for range 2 {
		g = g.again()
		if err := g.recallReconciled(t.Context()); err != nil { // it does so itself when it starts
			t.Fatal(err)
		}
		told := g.status().Outcome == audit.NotReconciled && g.status().Problem != "" &&
			g.tells(`guardlock_reconcile_offsets{class="bypass",cluster="main"} 2`) && g.tells(`guardlock_reconcile_outcome{cluster="main",outcome="not_concluded"} 1`) &&
			g.tells(`guardlock_reconcile_runs_total{cluster="main",outcome="bypass"} 0`)
		if !told {
			t.Fatalf("after a restart it tells %+v\n%s", g.status(), g.get("/metrics"))
		}
	}
}

// TestAcknowledgedBypassAlarmsNoMore, and everything else does: other offsets, and the same
// offsets of a topic that is made anew. It stays in the log, and in each look.
func TestAcknowledgedBypassAlarmsNoMore(t *testing.T) {
	kafka := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t")))
	defer kafka.Close()
	address := kafka.ListenAddrs()[0]
	g := serveReconciling(t, address, "gw-a", "every: 1h")
	g.produce("t", 1)
	produceTo(t, address, "t", 3)
	g.look()

	g.acknowledge(1, 2)
	if d := g.look(); d.Outcome != audit.ReconciledBypass || strings.Join(factsOf(d, "at"), ", ") != "bypass t/0 3-3, acknowledged t/0 1-2" {
		t.Errorf("of three records two are acknowledged: %+v", d.Control)
	}
	g.acknowledge(3, 3)
	d := g.look()
	if d.Outcome != audit.ReconciledAcknowledged || d.Control.Fact("offsets.acknowledged") != "3" || d.Control.Fact("offsets.bypass") != "" || strings.Join(factsOf(d, "at"), ", ") != "acknowledged t/0 1-3" {
		t.Errorf("all are acknowledged: %+v", d.Control)
	}

	g = g.again()
	if d := g.look(); d.Outcome != audit.ReconciledAcknowledged {
		t.Errorf("after a restart: %+v", d.Control)
	}
	if s := g.status(); s.Outcome != audit.ReconciledAcknowledged || s.Classes["acknowledged"] != 3 || s.Classes["bypass"] != 0 {
		t.Errorf("%+v", s)
	}
	if !g.tells(`guardlock_reconcile_offsets{class="bypass",cluster="main"} 0`) || !g.tells(`guardlock_reconcile_offsets{class="acknowledged",cluster="main"} 3`) {
		t.Error(g.get("/metrics"))
	}

	produceTo(t, address, "t", 1)
	if d := g.look(); d.Outcome != audit.ReconciledBypass || d.Control.Fact("offsets.bypass") != "1" || d.Control.Fact("offsets.acknowledged") != "3" {
		t.Errorf("another record went around: %+v", d.Control)
	}

	admin := kadm.NewClient(must(g.gateway.Cluster("main").Client()))
	must(admin.DeleteTopics(t.Context(), "t"))
	must(admin.CreateTopics(t.Context(), 1, 1, nil, "t"))
	g.produce("t", 1)
	produceTo(t, address, "t", 3)
	if d := g.look(); d.Outcome != audit.ReconciledBypass || d.Control.Fact("offsets.bypass") != "3" || d.Control.Fact("offsets.acknowledged") != "" {
		t.Errorf("the topic was made anew: %+v", d.Control)
	}
}

// TestLookNeedsTheLogsOfAllGateways: without that of another its records look as if they
// had gone around. One that cannot be read leaves nothing concluded.
func TestLookNeedsTheLogsOfAllGateways(t *testing.T) {
	kafka := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t")))
	defer kafka.Close()
	address := kafka.ListenAddrs()[0]
	other := serveReconciling(t, address, "gw-b", "")
	if other.status() != nil || strings.Contains(other.get("/metrics"), "guardlock_reconcile") {
		t.Error("a gateway that does not look tells of looks")
	}

	alone := serveReconciling(t, address, "gw-a", "every: 1h")
	both := serveReconciling(t, address, "gw-c", fmt.Sprintf("every: 1h, logs: [%q, %q]", other.dir, alone.dir))
	missing := serveReconciling(t, address, "gw-d", fmt.Sprintf("every: 1h, logs: [%q]", filepath.Join(other.dir, "nowhere")))
	alone.produce("t", 2)
	other.produce("t", 3)
	alone.produce("t", 1)
	both.produce("t", 1)
	missing.produce("t", 1)

	if d := alone.look(); d.Outcome != audit.ReconciledBypass {
		t.Errorf("one log of four: %+v", d.Control)
	}
	if d := missing.look(); d.Outcome != audit.NotReconciled || !strings.Contains(d.Control.Fact("problem"), "nowhere") {
		t.Errorf("a log that is not there: %+v", d.Control)
	}
	missing.stop()

	both.cfg.Audit.Reconcile.Logs = append(both.cfg.Audit.Reconcile.Logs, missing.dir)
	if d := both.look(); d.Outcome != audit.ReconciledComplete || d.Control.Fact("offsets") != "8" || len(factsOf(d, "log")) != 4 {
		t.Errorf("all logs: %+v", d.Control)
	}

	own := filepath.Join(t.TempDir(), "own")
	if err := os.Symlink(both.dir, own); err != nil {
		t.Fatal(err)
	}
	both.cfg.Audit.Reconcile.Logs = append(both.cfg.Audit.Reconcile.Logs, own)
	if d := both.look(); d.Outcome != audit.ReconciledComplete || len(factsOf(d, "log")) != 4 {
		t.Errorf("its own log by another path: %+v", d.Control)
	}

	both.cfg.Audit.Reconcile.Logs = append(both.cfg.Audit.Reconcile.Logs, filepath.Join(missing.dir, "..", "audit"))
	if d := both.look(); d.Outcome != audit.NotReconciled || !strings.Contains(d.Control.Fact("problem"), "are the same decision log") {
		t.Errorf("one log twice: %+v", d.Control)
	}
}

// signedLog makes a log with a checkpoint, and gives its key.
func signedLog(t *testing.T) (log reconciling.Log, id, key string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "audit")
	l := must(audit.Open(dir, audit.Options{}))
	t.Cleanup(func() { l.Close() })
	raw, _, err := l.Reader().LogID()
	if err != nil {
		t.Fatal(err)
	}

	secret, key, err := note.GenerateKey(nil, "guardlock/gw/01")
	if err != nil {
		t.Fatal(err)
	}
	grown := must(tree.Open(t.Context(), l.Reader(), tree.Options{Dir: filepath.Join(dir, tree.DirName), Signer: must(note.NewSigner(secret)), Verifier: must(note.NewVerifier(key))}))
	must(grown.Checkpoint(t.Context()))
	return reconciling.Log{Name: dir, Reader: l.Reader()}, hex.EncodeToString(raw[:]), key
}

// TestLookReadsJustTheLogsOfTheManifest: it says which there must be, whose each is and,
// where the configuration does not, where they are.
func TestLookReadsJustTheLogsOfTheManifest(t *testing.T) {
	_, ownID, ownKey := signedLog(t)
	other, otherID, otherKey := signedLog(t)
	third, thirdID, thirdKey := signedLog(t)
	former, formerID, formerKey := signedLog(t)
	listing := func(key, dir string) *manifest.Manifest {
		return &manifest.Manifest{Gateways: []manifest.Gateway{
			{Name: "gw-a", Log: manifest.Log{ID: ownID, Key: ownKey, Dir: "nowhere"}, Former: []manifest.Log{{ID: "00", Lost: "INC-812"}, {ID: formerID, Key: formerKey, Dir: former.Name}}},
			{Name: "gw-b", Log: manifest.Log{ID: otherID, Key: key, Dir: dir}},
		}}
	}

	for name, c := range map[string]struct {
		key, dir string
		logs     []string
		want     string
	}{
		"just these":        {otherKey, "", []string{other.Name}, ""},
		"its dir":           {otherKey, other.Name, nil, ""},
		"its dir, from it":  {otherKey, filepath.Base(other.Name), nil, ""},
		"named, and moved":  {otherKey, "nowhere", []string{other.Name}, ""},
		"named, and a dir":  {otherKey, other.Name, []string{other.Name, former.Name}, ""},
		"one is missing":    {otherKey, "", nil, "lists log " + otherID + " of gateway gw-b"},
		"no such dir":       {otherKey, "nowhere", nil, "nowhere: no such file or directory"},
		"another's dir":     {otherKey, third.Name, nil, "lists log " + otherID + " of gateway gw-b"},
		"one too many":      {otherKey, "", []string{other.Name, third.Name}, "has the id " + thirdID + ", which is not in the"},
		"another's key":     {thirdKey, "", []string{other.Name}, "is not shown to be that of gw-b"},
		"a key of nothing":  {"", "", []string{other.Name}, "is not shown to be that of gw-b: the manifest's key"},
		"what is not there": {otherKey, other.Name, []string{"nowhere"}, "audit.reconcile.logs[0]: "},
	} {
		cfg := &config.Config{Node: "gw-a"}
		cfg.Audit.Reconcile.Logs = c.logs
		cfg.Audit.Manifest.File = filepath.Join(filepath.Dir(other.Name), "cluster.yaml")
		o := openOthers(cfg)
		o.hold(listing(c.key, c.dir))
		o.close()

		var err error
		if len(o.problems) > 0 {
			err = o.problems[0]
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestLookEndsWithTheGateway: also while brokers do not answer. Nothing is said of it.
func TestLookEndsWithTheGateway(t *testing.T) {
	kafka := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t")))
	defer kafka.Close()
	g := serveReconciling(t, kafka.ListenAddrs()[0], "gw-a", "every: 1h")
	g.produce("t", 1)
	kafka.Close()

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { g.reconcile(ctx, patience{again: time.Hour, retry: time.Hour}); close(ended) }()
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	if s := g.status(); s.Outcome != "" {
		t.Errorf("what was cut short says %+v", s)
	}
}
