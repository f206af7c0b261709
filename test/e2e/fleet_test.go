package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// One line in one file stops a module at every gateway that reads it, and each says so
// in its own log.
func TestRevocationIsInForceOnEveryGatewayWithAnEntryFromEach(t *testing.T) {
	_, upstream := realCluster(t, "a")
	who := newPeople(t)
	m := judgeModule("a")
	var ds []*deployment
	var clients []*kgo.Client
	for i := range 2 {
		d := deploy(t, plan{
			node:     fmt.Sprintf("node%d", i),
			people:   &who,
			broker:   upstream,
			modules:  []module{m},
			bindings: map[string]string{"a": "judge"},
		})
		if ds = append(ds, d); i > 0 {
			d.share(ds[0], "trust.json")
		}
		gateway := serve(t, d)
		defer gateway.terminate()

		c := client(t, d.address, kgo.DisableIdempotentWrite())
		mustSend(t, c, "a", 0, "1")
		clients = append(clients, c)
	}

	digest := sha256.Sum256(m.wasm)
	ds[0].write("trust.json", ds[0].people.root(t, hex.EncodeToString(digest[:])))
	revoked := time.Now()
	for i, d := range ds {
		eventually(t, "the gateway refuses", func() bool { return send(t, clients[i], "a", 0, "2")[0] != nil })
		t.Logf("gateway %d refuses after %s", i, time.Since(revoked).Round(time.Millisecond))
		eventually(t, "its log has the revocation", func() bool {
			found := decisions(t, d.audit(), query.Filter{Kinds: []audit.Kind{audit.KindAdmission}, Reasons: []string{"revoked"}})
			return slices.ContainsFunc(found, func(d query.Decision) bool { return d.Control.Subject == "*" })
		})
	}
}

// share makes a file of d that of another deployment.
func (d *deployment) share(other *deployment, name string) {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.Remove(path); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(other.dir, name), path); err != nil {
		d.t.Fatal(err)
	}
}

// A producer at a gateway that cannot read its trust root for too long is told to try
// again, and goes on once it can.
func TestGatewayWithoutItsTrustRootTakesNothingForItsModules(t *testing.T) {
	d := deploy(t, plan{modules: []module{judgeModule("a")}, bindings: map[string]string{"a": "judge"}})
	text := string(must(os.ReadFile(d.config))(t))
	d.write("guardlock.yaml", []byte(strings.Replace(text, "root: trust.json", "root: trust.json\n  max_outage: 1s", 1)))
	gateway := serve(t, d)
	defer gateway.terminate()
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
	mustSend(t, c, "a", 0, "1")

	if err := os.Rename(filepath.Join(d.dir, "trust.json"), filepath.Join(d.dir, "away")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gateway refuses", func() bool {
		err := send(t, c, "a", 0, "2")[0]
		var code *kerr.Error
		if errors.As(err, &code) && !code.Retriable {
			t.Fatalf("the producer is told for good: %v", err)
		}
		return err != nil
	})
	eventually(t, "the log says why", func() bool {
		return len(decisions(t, d.audit(), query.Filter{Topics: []string{"a"}, Reasons: []string{"trust_stale"}})) > 0
	})

	if err := os.Rename(filepath.Join(d.dir, "away"), filepath.Join(d.dir, "trust.json")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it goes on", func() bool { return send(t, c, "a", 0, "3")[0] == nil })
}
