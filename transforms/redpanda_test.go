package transforms

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/record"
)

// The guests are one transform in two languages, built with the SDKs that Redpanda
// publishes and never changed for us; testdata/redpanda/build.sh says how.
func redpandaGuests(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"go":   testdata(t, "redpanda/go.wasm"),
		"rust": testdata(t, "redpanda/rust.wasm"),
	}
}

// does is the specification of a guest that does one thing, with one granted route.
func does(file []byte, what string) Spec {
	return Spec{
		Name:   "transform",
		Wasm:   file,
		Config: fmt.Appendf(nil, `{"DO": %q}`, what),
		Topic:  "orders",
		Grant:  Grant{HostFunctions: AllHostFunctions(), Routes: []string{"alerts"}},
	}
}

// became is what a chain made of a batch: a line for each record.
func became(m *Module, b *record.Batch) []string {
	var all []string
	for _, r := range b.Records {
		line := r.Verdict.String()
		if r.Verdict != record.Passed {
			line += " " + m.Reasons()[r.Reason]
		}
		if r.Verdict == record.Routed {
			line += " " + m.Routes()[r.Route]
		}
		all = append(all, line)
	}
	return all
}

// started starts a guest's file in one of the two ways.
type started struct {
	file  []byte
	start func(*testing.T, Spec) *Module
}

// Both guests do the same in this process and apart.
func TestModulesOfRedpandasSDKsRunUnmodified(t *testing.T) {
	guests := redpandaGuests(t)
	for _, language := range slices.Sorted(maps.Keys(guests)) {
		r := newRuntime(t, Config{Trial: withTrial.Trial, Worker: withWorkers.Worker})
		for _, apart := range []bool{false, true} {
			g := started{guests[language], func(t *testing.T, s Spec) *Module {
				s.Apart = apart
				m := load(t, r, s)
				t.Cleanup(func() { m.Close(t.Context()) })
				return m
			}}

			name := fmt.Sprintf("%s apart %v ", language, apart)
			t.Run(name+"each decides by what it writes", g.decides)
			t.Run(name+"a user's error fails its batch closed and no other", g.failsClosed)
			t.Run(name+"it sees its topics and variables and nothing else", g.seesItsEnvironment)
			if !apart {
				t.Run(name+"the largest record fits", g.takesLargest)
			}
			t.Run(name+"records are read and written byte for byte", g.keepsBytes)
		}
	}
}

func (g started) decides(t *testing.T) {
	for what, want := range map[string][]string{
		"":          {"passed", "passed", "passed"},
		"mask":      {"modified redpanda.changed", "passed", "routed redpanda.routed alerts"},
		"route":     {"passed", "passed", "routed redpanda.routed alerts"},
		"filter":    {"dropped redpanda.no_output", "passed", "dropped redpanda.no_output"},
		"tee":       {"rejected redpanda.several_outputs", "rejected redpanda.several_outputs", "rejected redpanda.several_outputs"},
		"elsewhere": {"rejected redpanda.write_refused", "rejected redpanda.write_refused", "rejected redpanda.write_refused"},
	} {
		m := g.start(t, does(g.file, what))
		for range 3 { // the same instance goes on with the next batch
			b := newBatch(
				testRecord{key: []byte("a"), value: []byte("4111111111111111")},
				testRecord{key: nil, value: []byte("keep"), headers: []byte("\x04\x02a\x01\x02b\x02c")},
				testRecord{key: []byte("test-1"), value: []byte{}},
			)
			if err := NewChain(m).Run(t.Context(), b, Origin{Topic: "orders"}); err != nil {
				t.Fatal(what, err)
			}
			if got := became(m, b); !slices.Equal(got, want) {
				t.Errorf("%q: %q, want %q", what, got, want)
			}
			if masked := string(b.Bytes(b.Records[0].Value)); what == "mask" && masked != "************1111" {
				t.Errorf("it is %q", masked)
			}
		}
	}
}

func (g started) failsClosed(t *testing.T) {
	s := does(g.file, "error")
	s.Grant.Limits.Deadline = 300 * time.Millisecond
	m := g.start(t, s)
	for value, kind := range map[string]Kind{"bad": Trap, "exit": Trap, "loop": Timeout} {
		if err := NewChain(m).Run(t.Context(), values("good", value, "good"), Origin{Topic: "orders"}); err == nil {
			t.Errorf("%s: no error", value)
		} else {
			wantKind(t, err, kind)
		}

		b := values("good")
		if err := NewChain(m).Run(t.Context(), b, Origin{Topic: "orders"}); err != nil || b.Changed {
			t.Errorf("after %s: %v", value, err)
		}
	}
}

func (g started) seesItsEnvironment(t *testing.T) {
	s := does(g.file, "environment")
	s.Config = []byte(`{"DO": "environment", "REGION": "eu=1"}`)
	m := g.start(t, s)

	for _, topic := range []string{"orders", "orders.eu", "orders"} {
		b := values("x", "y")
		if err := NewChain(m).Run(t.Context(), b, Origin{Topic: topic}); err != nil {
			t.Fatal(err)
		}

		seen := strings.Split(string(b.Bytes(b.Records[1].Value)), "\n")
		environment := fmt.Sprintf("REDPANDA_INPUT_TOPIC=%[1]s REDPANDA_OUTPUT_TOPIC_0=%[1]s REDPANDA_OUTPUT_TOPIC_1=alerts DO=environment REGION=eu=1", topic)
		want := []string{environment}
		if len(seen) > 1 { // Go's guest shows more
			want = []string{"transform", environment, "2023-11-14T22:13:20.001Z", "2023-11-14T22:13:20.001Z", "1", "true"}
		}
		if !slices.Equal(seen, want) {
			t.Errorf("on %s it saw %q, want %q", topic, seen, want)
		}
	}
}

func (g started) keepsBytes(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	s := does(g.file, "")
	s.Grant.Limits.MemoryBytes = 32 << 20
	m := g.start(t, s)
	var records []testRecord
	for n := range 3000 { // more than one chunk
		records = append(records, testRecord{key: fmt.Append(nil, n), value: bytes.Repeat([]byte{byte(n)}, n%300)})
	}
	records = append(records, testRecord{value: large}, testRecord{key: large[:70000], headers: []byte{2, 2, 'k', 0}}, testRecord{})

	b := newBatch(records...)
	before := slices.Clone(b.Data)
	if err := NewChain(m).Run(t.Context(), b, Origin{Topic: "orders"}); err != nil {
		t.Fatal(err)
	}
	if b.Changed || len(b.Out) > 0 || !bytes.Equal(before, b.Data) {
		t.Errorf("the identity changed something: %d bytes", len(b.Out))
	}
}

// What LargestRecord says is so, also where other sizes have used an instance up. A
// record that is larger is told from a guest that fails.
func (g started) takesLargest(t *testing.T) {
	s := does(g.file, "")
	s.Grant.Limits = Limits{MemoryBytes: 8 << 20, Instances: 1, OutputBytes: 100 << 20}
	m := g.start(t, s)
	largest := s.Grant.Limits.LargestRecord(m.Info())
	if largest < 20<<20 {
		t.Errorf("the largest record has only %d bytes", largest)
	}

	for _, size := range []int{largest - 100, largest / 3, largest / 2, largest - 100, 1000, largest - 100} {
		if err := NewChain(m).Run(t.Context(), sized(1, size), Origin{Topic: "orders"}); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}

	err := NewChain(m).Run(t.Context(), sized(1, 3*largest), Origin{Topic: "orders"})
	wantKind(t, err, TooLarge)
}

func TestAPullingGuestTakesNoMemoryOfTheGatewayForARecord(t *testing.T) {
	m := load(t, newRuntime(t, Config{}), does(testdata(t, "redpanda/rust.wasm"), "mask"))
	b := sized(500, 100)
	copy(b.Data[b.Records[7].Value.Off:], "4111111111111111 ")
	rewind := rewinder(b)
	chain := NewChain(m)
	allocations := testing.AllocsPerRun(20, func() {
		rewind()
		if err := chain.Run(t.Context(), b, Origin{Topic: "orders"}); err != nil {
			t.Fatal(err)
		}
	})
	if !b.Changed || allocations > 1 {
		t.Errorf("%.1f allocations for a batch of 500", allocations)
	}
}
