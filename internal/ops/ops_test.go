package ops

import (
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/guardlock/guardlock/internal/meter"
)

var update = flag.Bool("update", false, "write docs/metrics.md again from the definitions")

func TestReferenceIsCurrent(t *testing.T) {
	const path = "../../docs/metrics.md"
	want := Reference()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/metrics.md is older than the definitions: go test ./internal/ops -update (%v)", err)
	}
}

// Labels are closed: none of them is for what a client says of itself.
func TestNoLabelIsForAClient(t *testing.T) {
	for _, m := range All() {
		for _, label := range m.Labels {
			if slices.Contains([]string{"principal", "client", "client_id", "user", "address", "source", "key", "partition"}, label) {
				t.Errorf("%s has a label %s", m.Name, label)
			}
		}
	}
}

// Rules and the dashboard ask only for what there is.
func TestRulesAndDashboardNameMetricsThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, m := range All() {
		known[m.Name] = true
		if m.Kind == Histogram {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[m.Name+suffix] = true
			}
		}
	}

	files, err := filepath.Glob("../../deploy/observability/*")
	if err != nil || len(files) < 2 {
		t.Fatalf("found %v: %v", files, err)
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`guardlock_[a-z_]+`).FindAllString(string(raw), -1) {
			if !known[name] {
				t.Errorf("%s names %s, which there is not", path, name)
			}
		}
	}
}

// fixed is a Source that says what it is told to.
type fixed struct{ missing, refusing []string }

func (fixed) Measure(to *Samples)        { to.Value(BuildInfo, 1, "v", "r", "go", "not \xff UTF-8") }
func (fixed) Status() Status             { return Status{Node: "gw"} }
func (f fixed) Missing() []string        { return f.missing }
func (f fixed) Refusing() []string       { return f.refusing }
func (fixed) DecisionID(n uint64) string { return "id" }

// everything is a Source that has a value for each metric.
type everything struct{ fixed }

func (everything) Measure(to *Samples) {
	for _, m := range All() {
		if m.Kind == Histogram {
			var h meter.Histogram
			h.ObserveOf(time.Second, 7, meter.Now())
			to.Histogram(m, h.Read(), slices.Clone(m.Labels)...)
			continue
		}
		to.Value(m, 1, slices.Clone(m.Labels)...)
	}
}

func TestMetricsKeepTheRulesOfPrometheus(t *testing.T) {
	_, text := get(t, listen(t, Config{}, everything{})+"/metrics", "")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "guardlock_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, m := range All() {
		if !strings.Contains(text, "\n"+m.Name) {
			t.Errorf("%s is not served", m.Name)
		}
	}
}

func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func listen(t *testing.T, cfg Config, from Source) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	l := New(ln, cfg, from)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.URL()
}

func TestNotReadySaysWhyToWhomItConcerns(t *testing.T) {
	url := listen(t, Config{Token: func() []byte { return []byte("token") }}, fixed{missing: []string{"the log is full"}})
	if code, text := get(t, url+"/readyz", ""); code != http.StatusServiceUnavailable || strings.Contains(text, "log") {
		t.Errorf("%d %s", code, text)
	}
	if code, text := get(t, url+"/readyz", "token"); code != http.StatusServiceUnavailable || !strings.Contains(text, "the log is full") {
		t.Errorf("%d %s", code, text)
	}
}

// A binding that refuses does not make the gateway unready: all gateways would be.
func TestBindingThatRefusesIsToldAndLeavesTheGatewayReady(t *testing.T) {
	url := listen(t, Config{}, fixed{refusing: []string{"binding b refuses: expired"}})
	if code, text := get(t, url+"/readyz", ""); code != http.StatusOK || text != "ready\nbinding b refuses: expired\n" {
		t.Errorf("%d %s", code, text)
	}
}

func TestLabelsThatAreNoTextDoNotEndAScrape(t *testing.T) {
	url := listen(t, Config{}, fixed{})
	if code, text := get(t, url+"/metrics", ""); code != http.StatusOK || !strings.Contains(text, `node="not ? UTF-8"`) {
		t.Errorf("%d %s", code, text)
	}
}
