//go:build linux

package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

func ignoreTerm() { signal.Ignore(unix.SIGTERM) }

func produce(t *testing.T, c *kgo.Client, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := c.ProduceSync(testContext(t), kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// stored reads topic t until every value of want was seen, and returns how often each was.
func stored(t *testing.T, e *Embedded, want map[string]bool) map[string]int {
	t.Helper()
	c := client(t, e, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := make(map[string]int)
	missing := len(want)
	for ctx := testContext(t); missing > 0; {
		fs := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("%d of %d acknowledged records are lost", missing, len(want))
		}
		fs.EachRecord(func(r *kgo.Record) {
			v := string(r.Value)
			if seen[v]++; seen[v] == 1 && want[v] {
				missing--
			}
		})
	}

	return seen
}

func TestKilledChildIsStartedAgain(t *testing.T) {
	t.Parallel()
	e := start(t, EmbeddedConfig{AutoCreateTopics: true})
	produce(t, client(t, e), "before")
	first := e.Status().PID
	kill(t, first)
	produce(t, client(t, e), "after")

	s := e.Status()
	if s.PID == first || s.Restarts != 1 || !s.Ready {
		t.Fatalf("status %+v after the child %d was killed", s, first)
	}
	stored(t, e, map[string]bool{"before": true, "after": true})
}

// TestStalledChildIsStartedAgain: a child that lives and answers nobody is as good as dead, and nobody else would notice.
func TestStalledChildIsStartedAgain(t *testing.T) {
	t.Parallel()
	e := start(t, EmbeddedConfig{AutoCreateTopics: true, Stall: time.Second})
	c := client(t, e)
	produce(t, c, "before")

	stalled := e.Status().PID
	if err := unix.Kill(stalled, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	produce(t, c, "after")
	if s := e.Status(); s.PID == stalled || s.Restarts < 1 { // a busy machine may stall the new one as well
		t.Errorf("%+v", s)
	}

	stored(t, e, map[string]bool{"before": true, "after": true})
}

func TestNoAcknowledgedRecordIsLostToKills(t *testing.T) {
	t.Parallel()
	e := start(t, EmbeddedConfig{AutoCreateTopics: true, MaxBackoff: 100 * time.Millisecond})
	c := client(t, e, kgo.RecordDeliveryTimeout(30*time.Second))
	acked := make(map[string]bool)
	for round := range 4 {
		var mu sync.Mutex
		enough := make(chan struct{})
		n := 0
		for i := range 300 {
			v := fmt.Sprintf("%d-%d", round, i)
			c.Produce(testContext(t), kgo.StringRecord(v), func(_ *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					acked[v] = true
				}
				if n++; n == 50 {
					close(enough)
				}
			})
		}

		<-enough
		if err := e.Ready(testContext(t)); err != nil {
			t.Fatal(err)
		}

		kill(t, e.Status().PID)
		if err := c.Flush(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}

	if len(acked) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	stored(t, e, acked)
}

func TestSocketIsClosedToOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := start(t, EmbeddedConfig{DataDir: filepath.Join(dir, "data"), AutoCreateTopics: true})
	produce(t, client(t, e), "v")

	for path, want := range map[string]os.FileMode{
		e.socket:                                  os.ModeSocket | 0o600,
		filepath.Dir(e.socket):                    os.ModeDir | 0o700,
		filepath.Join(dir, "data"):                os.ModeDir | 0o700,
		filepath.Join(dir, "data", "topics.json"): 0o600,
	} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", filepath.Base(path), info.Mode(), want)
		}
	}
}

func TestLongDataDirectoryGetsPrivateSocketElsewhere(t *testing.T) {
	t.Parallel()
	long := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	e := start(t, EmbeddedConfig{DataDir: long})
	if len(e.socket) > maxSocketPath {
		t.Fatalf("socket path has %d bytes", len(e.socket))
	}

	t.Cleanup(func() { os.RemoveAll(filepath.Dir(e.socket)) })
	info, err := os.Stat(filepath.Dir(e.socket))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("directory of the socket: %v, %v", info.Mode(), err)
	}
}

func TestSomebodyElsesDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "taken")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}

	for _, path := range []string{file, link} {
		if err := privateDir(path); err == nil {
			t.Errorf("%s was accepted", filepath.Base(path))
		}
	}
}

func TestChildHasNoTCPSocket(t *testing.T) {
	t.Parallel()
	e := start(t, EmbeddedConfig{AutoCreateTopics: true})
	produce(t, client(t, e), "v")
	pid := e.Status().PID
	tcp := make(map[string]bool)
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n")[1:] {
			if f := strings.Fields(line); len(f) > 9 {
				tcp["socket:["+f[9]+"]"] = true
			}
		}
	}

	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) < 4 {
		t.Fatalf("file descriptors of the child: %v, %v", fds, err)
	}

	for _, fd := range fds {
		if target, _ := os.Readlink(fd); tcp[target] {
			t.Errorf("the child holds a network socket: %s", target)
		}
	}
}

// startGateway starts a process that holds an embedded broker on dir, and returns it and its child's pid.
func startGateway(t *testing.T, dir string) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "__gateway", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}

	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}

	return cmd, pid
}

func TestChildOfKilledGatewaySavesAndEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := start(t, EmbeddedConfig{DataDir: dir, AutoCreateTopics: true})
	produce(t, client(t, e), "v")
	e.Close()

	if err := os.Remove(filepath.Join(dir, "seq_windows.json")); err != nil {
		t.Fatal(err)
	}
	gateway, pid := startGateway(t, dir)
	child := watch(t, pid)

	if err := gateway.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitGone(t, child)
	if _, err := os.Stat(filepath.Join(dir, "seq_windows.json")); err != nil {
		t.Errorf("the orphan ended without saving: %v", err)
	}
}

func TestNextGatewayWaitsForTheOrphan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gateway, pid := startGateway(t, dir)
	child := watch(t, pid)

	if err := gateway.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	e := start(t, EmbeddedConfig{DataDir: dir, AutoCreateTopics: true})
	waitGone(t, child)
	produce(t, client(t, e), "v")
}

func TestDataDirectoryServesOneBroker(t *testing.T) {
	t.Parallel()
	e := start(t, EmbeddedConfig{})
	second, err := OpenEmbedded(EmbeddedConfig{DataDir: e.cfg.DataDir, Args: []string{"__broker"}, LockTimeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}

	err = second.Run(testContext(t))
	if err == nil || !strings.Contains(err.Error(), "another process is using it") {
		t.Fatalf("second broker on one directory: %v", err)
	}
	if second.Ready(testContext(t)) == nil {
		t.Fatal("a broker that cannot serve is ready")
	}
}

func TestCloseSavesStateAndEndsChild(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := start(t, EmbeddedConfig{DataDir: dir, AutoCreateTopics: true})
	produce(t, client(t, e), "v")
	child := watch(t, e.Status().PID)
	e.Close()
	waitGone(t, child)
	requireSequences(t, dir)

	if err := e.Ready(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("Ready after Close: %v", err)
	}
	if err := e.Run(testContext(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("Run after Close: %v", err)
	}
}

// requireSequences checks that producers' sequence windows were saved, as only a clean end does: without them a retried
// batch is stored twice.
func requireSequences(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "seq_windows.json"))
	if err != nil || !strings.Contains(string(text), `"t"`) {
		t.Errorf("sequence windows were not saved: %q, %v", text, err)
	}
}

func TestRecordsSurviveCleanRestartOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := start(t, EmbeddedConfig{DataDir: dir, AutoCreateTopics: true})
	c := client(t, e)
	produce(t, c, "1", "2")
	e.Close()
	e = start(t, EmbeddedConfig{DataDir: dir})

	seen := stored(t, e, map[string]bool{"1": true, "2": true})
	if seen["1"] != 1 || seen["2"] != 1 {
		t.Fatalf("seen %v", seen)
	}
}

func TestChildThatDoesNotEndIsKilled(t *testing.T) {
	t.Parallel()
	e := start(t, EmbeddedConfig{Args: []string{"__stubborn"}, StopTimeout: time.Millisecond})
	child := watch(t, e.Status().PID)
	e.Close()
	waitGone(t, child)
}

func TestForeignChildIsRefused(t *testing.T) {
	t.Parallel()
	e, err := OpenEmbedded(EmbeddedConfig{DataDir: t.TempDir(), Args: []string{"-test.list", "TestForeign"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(testContext(t)); err == nil || !strings.Contains(err.Error(), "check Args") {
		t.Fatalf("a child that is no broker: %v", err)
	}
}

func TestChildThatNeverServesEndsRun(t *testing.T) {
	t.Parallel()
	e, err := OpenEmbedded(EmbeddedConfig{DataDir: t.TempDir(), Args: []string{"-no-such-flag"}, MaxBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(testContext(t)); err == nil || !strings.Contains(err.Error(), "before it served") {
		t.Fatalf("a child that dies at once: %v", err)
	}
}

func TestEndOfContextEndsRun(t *testing.T) {
	t.Parallel()
	e, err := OpenEmbedded(EmbeddedConfig{DataDir: t.TempDir(), Args: []string{"__broker"}})
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()

	if err := e.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
}

func TestSettingsAndClusterIDReachTheBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ids := make(map[string]bool)
	for range 2 {
		e := start(t, EmbeddedConfig{DataDir: dir, Partitions: 5, AutoCreateTopics: true,
			Settings: map[string]string{"group.consumer.heartbeat.interval.ms": "777"}})
		c := client(t, e)
		produce(t, c, "v")

		meta, err := kmsg.NewPtrMetadataRequest().RequestWith(testContext(t), c)
		if err != nil {
			t.Fatal(err)
		}

		ids[*meta.ClusterID] = true
		if n := len(meta.Topics[0].Partitions); n != 5 {
			t.Errorf("%d partitions, want 5", n)
		}
		if got := brokerSetting(t, c, "group.consumer.heartbeat.interval.ms"); got != "777" {
			t.Errorf("setting is %q", got)
		}

		e.Close()
	}

	if len(ids) != 1 || ids["kfake"] {
		t.Errorf("cluster ids %v, want one that stays", ids)
	}
}

func brokerSetting(t *testing.T, c *kgo.Client, name string) string {
	t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	node := "0"
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: node}}

	resp, err := req.RequestWith(testContext(t), c)
	if err != nil {
		t.Fatal(err)
	}

	for _, cfg := range resp.Resources[0].Configs {
		if cfg.Name == name && cfg.Value != nil {
			return *cfg.Value
		}
	}

	return ""
}

func TestChildsMessagesReachTheLog(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	l := &lineLog{log: zap.New(core)}
	for _, part := range []string{"WRN slow", "er\nERR bad\npan", "ic: x\n\nINF " + strings.Repeat("x", 2*maxLogLine), "y\nlast"} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}

	l.flush()
	want := []string{"warn slower", "error bad", "error panic: x", "info " + strings.Repeat("x", maxLogLine-4), "error last"}
	entries := logs.All()
	if len(entries) != len(want) {
		t.Fatalf("%d entries, want %d", len(entries), len(want))
	}

	for i, e := range entries {
		if got := e.Level.String() + " " + e.Message; got != want[i] {
			t.Errorf("entry %d is %.40q, want %.40q", i, got, want[i])
		}
	}
}

func TestIllegalTopicIsNotCreated(t *testing.T) {
	t.Parallel()
	e := start(t, EmbeddedConfig{AutoCreateTopics: true})
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = true

	names := []string{"bad topic!", "..", strings.Repeat("n", 250), "good.name_1-x"}
	for i := range names {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &names[i]})
	}

	resp, err := req.RequestWith(testContext(t), client(t, e))
	if err != nil {
		t.Fatal(err)
	}

	for _, topic := range resp.Topics {
		if good := *topic.Topic == "good.name_1-x"; (topic.ErrorCode == 0) != good {
			t.Errorf("topic %.20q: error %d", *topic.Topic, topic.ErrorCode)
		}
	}
}

func TestLostStateEndsTheChild(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("the child went on")
		}
	}()
	childLog{&strings.Builder{}}.Logf(2, "persist %s: %v", "topics", "no space")
}
