package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// sends reports whether a record is stored, by a client that asks once.
func sends(t *testing.T, c *kgo.Client, topic string) bool {
	t.Helper()
	return send(t, c, topic, 0, "1")[0] == nil
}

// What is written into a package holds up neither a revocation nor the end.
func TestFIFOInAPackageHoldsUpNeitherRevocationNorEnd(t *testing.T) {
	m := judgeModule("in")
	d := deploy(t, plan{modules: []module{m}, bindings: map[string]string{"in": "judge"}})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite())
	mustSend(t, c, "in", 0, "1")

	approval := filepath.Join(d.dir, "judge.approval.json")
	if err := os.Remove(approval); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(approval, 0o600); err != nil {
		t.Fatal(err)
	}

	eventually(t, "the gateway has seen the FIFO", func() bool { return strings.Contains(tail(d), "not a regular file") })
	mustSend(t, c, "in", 0, "2")

	digest := sha256.Sum256(m.wasm)
	d.write("trust.json", d.people.root(t, hex.EncodeToString(digest[:])))
	revoked := time.Now()
	eventually(t, "the topic stops", func() bool { return !sends(t, c, "in") })

	if took := time.Since(revoked); took > time.Second {
		t.Errorf("the module ran for %s after its revocation", took)
	}

	gateway.terminate()
}

// The files of a new version arrive one by one, and no producer notices.
func TestNewVersionInPlaceIsNoOutage(t *testing.T) {
	m := judgeModule("in")
	d := deploy(t, plan{modules: []module{m}, bindings: map[string]string{"in": "judge"}})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite())
	mustSend(t, c, "in", 0, "0")

	fresh := bundled("reject-uppercase", "in")
	p := d.people.approve(t, fresh)
	d.write("judge.wasm", p.Wasm)
	eventually(t, "the gateway has seen half a version", func() bool { return strings.Contains(tail(d), "the last one that was admitted goes on") })
	mustSend(t, c, "in", 0, "1")
	d.write("judge.json", p.Config)
	d.write("judge.sigstore.json", p.Signature)
	mustSend(t, c, "in", 0, "2")

	d.write("judge.approval.json", p.Approvals[0])
	eventually(t, "the new version serves", func() bool { return send(t, c, "in", 0, "UPPER")[0] != nil })
	gateway.terminate()
}

func TestHangupPutsANewBindingIntoForceAndEndsNothing(t *testing.T) {
	d := deploy(t, plan{bindings: map[string]string{"old": ""}, more: "unbound_topics: refuse\n"})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.DisableIdempotentWrite())
	mustSend(t, c, "old", 0, "1")

	if sends(t, c, "new") {
		t.Fatal("a topic without a binding takes records")
	}

	text := string(must(os.ReadFile(d.config))(t))
	d.write("guardlock.yaml", []byte(text+"  - {topics: [new], modules: []}\n"))
	gateway.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the new binding is in force", func() bool { return sends(t, c, "new") })

	d.write("guardlock.yaml", []byte("bindings: [broken"))
	gateway.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "the broken configuration is told of", func() bool { return strings.Contains(tail(d), "the configuration cannot be used") })
	mustSend(t, c, "new", 0, "2")
	gateway.terminate()
}
