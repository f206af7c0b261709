package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A broker that lives and answers nobody makes the gateway unready within ten seconds,
// with the reason, and ready again when it goes on. Who produces meanwhile waits, and
// loses nothing by it.
func TestBrokerThatHangsMakesTheGatewayUnready(t *testing.T) {
	ops, release := holdAddress(t)
	d := deploy(t, plan{
		modules:  []module{judgeModule("t")},
		bindings: map[string]string{"t": "judge"},
		more:     "ops: {address: \"" + ops + "\"}\n",
	})
	release()
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation())
	mustSend(t, c, "t", 0, "a before")

	ready := func() bool { return strings.HasPrefix(scraped(t, ops, "/readyz"), "ready\n") }
	if !ready() {
		t.Fatalf("the gateway is not ready: %s", scraped(t, ops, "/readyz"))
	}

	hung := gateway.child()
	if err := syscall.Kill(hung, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(hung, syscall.SIGCONT)
	began := time.Now()
	taken := make(chan error, 1)
	c.Produce(testContext(t), &kgo.Record{Topic: "t", Partition: 0, Value: []byte("a meanwhile")}, func(_ *kgo.Record, err error) { taken <- err })

	if !within(10*time.Second, func() bool { return !ready() }) {
		t.Fatalf("the gateway is ready 10 s after its broker hung: %s", scraped(t, ops, "/readyz"))
	}
	t.Logf("not ready after %s", time.Since(began))
	if said := scraped(t, ops, "/readyz"); !strings.Contains(said, "cluster main: no broker answered for 5s") {
		t.Errorf("operators are told %s", said)
	}

	if err := syscall.Kill(hung, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !within(10*time.Second, ready) {
		t.Errorf("the gateway is not ready 10 s after its broker went on: %s", scraped(t, ops, "/readyz"))
	}
	if err := <-taken; err != nil {
		t.Errorf("what was produced meanwhile: %v", err)
	}
	if gateway.child() != hung {
		t.Error("the broker was ended; the test took too long to say anything")
	}
}
