package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

var traceDecision = regexp.MustCompile(`gl-[0-9a-f]{8}-[0-9a-z]+(-[0-9]+)?`)

// A producer that is part of a trace finds the way of its batch in it, with the id to ask
// the decision log by. Records, keys and who sent them stay here.
func TestACollectorIsToldTheWayOfABatchAndNoContent(t *testing.T) {
	const traceID, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	var mu sync.Mutex
	var told bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if _, err := io.Copy(&told, z); err != nil {
			t.Error(err)
		}
	}))
	defer collector.Close()

	d := deploy(t, plan{
		bindings: map[string]string{"traced": ""},
		more:     "ops: {address: \"127.0.0.1:0\", traces: {endpoint: \"" + collector.URL + "/v1/traces\", ratio: 0}}\n",
	})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation())
	mustSend(t, c, "traced", 0, "nobody asked for a trace")
	err := c.ProduceSync(t.Context(), &kgo.Record{
		Topic:   "traced",
		Key:     []byte("its key"),
		Value:   []byte("its value"),
		Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte("00-" + traceID + "-" + caller + "-01")}, {Key: "tracestate", Value: []byte("vendor=its-state")}, {Key: "other", Value: []byte("its header")}},
	}).FirstErr()
	if err != nil {
		t.Fatal(err)
	}
	gateway.terminate()

	got := told.String()
	id := must(hex.DecodeString(traceID))(t)
	parent := must(hex.DecodeString(caller))(t)
	for _, want := range []string{string(id), string(parent), "process traced", "queue", "decode", "commit", "upstream", "answer", "vendor=its-state"} {
		if !strings.Contains(got, want) {
			t.Errorf("the collector was not told %q:\n%q", want, got)
		}
	}
	for _, secret := range []string{"its key", "its value", "its header", "ANONYMOUS", "nobody asked"} {
		if strings.Contains(got, secret) {
			t.Errorf("the collector was told %q", secret)
		}
	}
	if n := strings.Count(got, "process traced"); n != 1 {
		t.Errorf("%d batches were traced", n)
	}

	decision := traceDecision.FindString(got)
	if out, exit := guardlock(t, "audit", "show", decision, "--dir", d.audit()); exit != 0 || !strings.Contains(out, "traced") {
		t.Errorf("audit show %q ends with %d:\n%s", decision, exit, out)
	}
}
