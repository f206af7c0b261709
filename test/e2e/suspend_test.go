package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// dialFrom connects from another address of this machine: without principals, each
// address is a client of its own.
func dialFrom(t *testing.T, source, addr string) *wire {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: testTimeout}
	c := must(d.Dial("tcp", addr))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(testTimeout))
	return &wire{Conn: c, t: t}
}

// judged produces one value and returns the answer.
func (w *wire) judged(topic, value string) kmsgPartition {
	w.t.Helper()
	return results(w.request(produceOf(-1, part{topic, 0, batchOf(nobody, value)})))[0]
}

// suspending is a gateway whose module traps where it is told to.
func suspending(t *testing.T, topics ...string) *deployment {
	t.Helper()
	p := plan{
		modules:  []module{judgeModule(topics...)},
		bindings: map[string]string{},
		more:     "limits:\n  suspend: {failures: 3, pause: 300ms, longest_pause: 1s}\n",
	}
	for _, topic := range topics {
		p.bindings[topic] = "judge"
	}

	return deploy(t, p)
}

// conduct are the entries about modules that served: outcome, client and reason.
func (d *deployment) conduct() (out []string) {
	d.t.Helper()
	for _, found := range decisions(d.t, d.audit(), query.Filter{Kinds: []audit.Kind{audit.KindConduct}}) {
		c := found.Control
		out = append(out, strings.Join(strings.Fields(c.Outcome+" "+c.Subject+" "+c.Module.Name+" "+c.Principal+" "+c.Reason), " "))
	}
	return out
}

// A client whose records no module survives is given no more of its time, is told
// so, and is the only one; when its records are sound again, so is its access.
func TestClientWithRecordsThatKeepFailingIsSuspendedAlone(t *testing.T) {
	d := suspending(t, "in")
	gateway := serve(t, d)
	eve := dialFrom(t, "127.0.0.2", d.address)
	ada := dial(t, d.address)
	mustSend(t, client(t, d.address, kgo.AllowAutoTopicCreation()), "in", 0, "a")

	for n := range 3 {
		if got := eve.judged("in", fmt.Sprint("trap ", n)); got.ErrorCode != kerr.UnknownServerError.Code {
			t.Fatalf("a record that traps is answered with %d, %s", got.ErrorCode, deref(got.ErrorMessage))
		}
	}

	got := eve.judged("in", "a")
	if got.ErrorCode != kerr.NotEnoughReplicas.Code || !strings.Contains(deref(got.ErrorMessage), "module_suspended") {
		t.Errorf("a suspended client is told %d, %s", got.ErrorCode, deref(got.ErrorMessage))
	}
	if got := ada.judged("in", "a"); got.ErrorCode != 0 {
		t.Errorf("another client is told %d, %s", got.ErrorCode, deref(got.ErrorMessage))
	}

	eventually(t, "the client may send again", func() bool { return eve.judged("in", "a").ErrorCode == 0 })
	eventually(t, "both are in the log", func() bool { return len(d.conduct()) >= 2 })
	equal(t, "entries", d.conduct(), []string{"suspended in judge 127.0.0.2 trap", "lifted in judge 127.0.0.2 worked"})

	d.explains(deref(got.ErrorMessage))
	gateway.terminate()
}

// explains wants the refusal of a suspended batch to be explained to its producer,
// and the suspension to auditors.
func (d *deployment) explains(message string) {
	t := d.t
	t.Helper()
	id := decisionID.FindStringSubmatch(message)
	if id == nil {
		t.Fatalf("%q names no decision", message)
	}

	out, exit := guardlock(t, "why", id[1], "--dir", d.audit())
	for _, want := range []string{"module_suspended", "unavailable", "module judge, trap"} {
		if exit != 0 || !strings.Contains(out, want) {
			t.Errorf("why ends with %d and does not say %q:\n%s", exit, want, out)
		}
	}

	out, exit = guardlock(t, "audit", "query", "--kind", "conduct", "--dir", d.audit())
	for _, want := range []string{"suspended", "lifted", "conduct in", "127.0.0.2"} {
		if exit != 0 || !strings.Contains(out, want) {
			t.Errorf("audit query ends with %d and does not say %q:\n%s", exit, want, out)
		}
	}

	if log := tail(d); !strings.Contains(log, "keeps failing") {
		t.Error("the gateway's log has no line about it")
	}
}

// A module that fails for everybody is suspended for its binding, and for no other.
func TestModuleThatFailsForEverybodyIsSuspendedForItsBinding(t *testing.T) {
	d := suspending(t, "broken", "sound")
	gateway := serve(t, d)
	one := dial(t, d.address)
	two := dialFrom(t, "127.0.0.2", d.address)
	three := dialFrom(t, "127.0.0.3", d.address)

	for _, topic := range []string{"broken", "sound"} {
		mustSend(t, client(t, d.address, kgo.AllowAutoTopicCreation()), topic, 0, "a")
	}

	one.judged("broken", "trap 1")
	two.judged("broken", "trap 2")
	one.judged("broken", "trap 3")

	if got := three.judged("broken", "a"); got.ErrorCode != kerr.NotEnoughReplicas.Code {
		t.Errorf("after failures of two clients a third is told %d, %s", got.ErrorCode, deref(got.ErrorMessage))
	}
	if got := one.judged("sound", "a"); got.ErrorCode != 0 {
		t.Errorf("on another binding of the module a client is told %d, %s", got.ErrorCode, deref(got.ErrorMessage))
	}

	eventually(t, "the module is given batches again", func() bool { return three.judged("broken", "a").ErrorCode == 0 })
	eventually(t, "both are in the log", func() bool { return len(d.conduct()) >= 2 })
	equal(t, "entries", d.conduct(), []string{"suspended broken judge trap", "lifted broken judge worked"})
	gateway.terminate()
}
