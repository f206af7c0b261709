package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// speller rejects every record with the reason whose number is the value's first
// byte: what the log says of a record is the record.
func speller() []byte {
	const frame, i, n, in, out = 0, 1, 2, 3, 4
	var c code
	c.eachRecord(frame, i, n, in, out)
	c.get(out)
	c.get(in)
	c.load(24)
	c.op(0x2d, 0, 0) // load8_u
	c.i32(16)
	c.op(opShl)
	c.i32(1)
	c.op(opAdd)
	c.store(44)
	c.addTo(in, 48)
	c.addTo(out, 48)
	c.addTo(i, 1)
	c.op(opBr, 1, opEnd, opEnd)
	c.get(n)

	var reasons []string
	for n := range 255 {
		reasons = append(reasons, fmt.Sprintf("spell.%03d", n+1))
	}

	return guest{reasons: strings.Join(reasons, "\n"), locals: 4, transform: c}.wasm()
}

// A module of 255 reasons gets a few of them into the log in an hour, and those who
// approve it are told how many it has.
func TestModuleCannotSpellRecordsIntoTheLog(t *testing.T) {
	const most = 4
	d := deploy(t, plan{
		modules:  []module{{name: "speller", wasm: speller(), topics: []string{"in"}}},
		bindings: map[string]string{"in": "speller", "other": ""},
		more:     fmt.Sprintf("limits:\n  reasons_per_hour: %d\n", most),
	})

	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation())
	createTopic(t, c, "in", 1, nil)
	mustSend(t, c, "other", 0, "a")

	const secret = "a record that nobody may read"
	got := results(dial(t, d.address).request(produceOf(-1, part{"in", 0, batchOf(nobody, strings.Split(secret, "")...)})))[0]
	if got.ErrorCode != codeInvalidRecord {
		t.Fatalf("the batch is answered with %d, %s", got.ErrorCode, deref(got.ErrorMessage))
	}

	var said []string
	for _, row := range decisions(t, d.audit(), query.Filter{Topics: []string{"in"}}) {
		said = append(said, row.Reason)
	}

	spelt := strings.Join(said, " ")
	slices.Sort(said)
	said = slices.Compact(said)
	if len(said) != most+1 || !slices.Contains(said, "reason_limit") || strings.HasSuffix(spelt, "spell.100") {
		t.Errorf("the log says %s", spelt)
	}

	eventually(t, "the log has an entry about it", func() bool { return len(d.conduct()) == 1 })
	equal(t, "entries", d.conduct(), []string{"reasons_capped in speller reason_limit"})
	if rows := decisions(t, d.audit(), query.Filter{Kinds: []audit.Kind{audit.KindConduct}, Outcomes: []string{"reasons_capped"}}); len(rows) != 1 {
		t.Errorf("asked for by outcome, there are %d", len(rows))
	}

	gateway.terminate()
}

func TestApproversAreToldHowManyReasonsAModuleHas(t *testing.T) {
	d := deploy(t, plan{
		modules:  []module{{name: "speller", wasm: speller(), topics: []string{"in"}}},
		bindings: map[string]string{"in": "speller"},
	})

	d.write("grace.key", must(d.people.approver.MarshalPEM(nil))(t))
	for _, c := range []struct {
		args  []string
		wants []string
	}{
		{[]string{"module", "inspect", d.file("speller.wasm")}, []string{"reasons it can give  255", "  255 spell.255"}},
		{[]string{"module", "approve", d.file("speller.wasm"), "--key", d.file("grace.key"), "--topic", "in", "--yes", "--out", d.file("new.json")},
			[]string{"it can give 255 different reasons", "255 reasons that it may give", "spell.001", "spell.255"}},
		{[]string{"check", d.config}, []string{"speller  255", "spell.001 spell.002 spell.003 and 252 more"}},
		{[]string{"check", d.config, "--json"}, []string{`"spell.255"]`}},
	} {
		out, exit := guardlock(t, c.args...)
		for _, want := range c.wants {
			if exit != 0 || !strings.Contains(out, want) {
				t.Errorf("%v ends with %d and does not say %q:\n%s", c.args, exit, want, out)
			}
		}
	}
}
