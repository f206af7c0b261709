package transforms

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// forEach runs body for every record; local 1 is its output descriptor, which
// was copied from the input, and local 2 counts.
func forEach(body []byte) asm {
	return asm{locals: 2, transform: cat(copyDescs(), frameField(frameOutDescs), lset(1),
		op(opBlock, 0x40, opLoop, 0x40), lget(2), count(), op(0x4f, opBrIf, 1), body,
		lget(1), i32c(descriptorSize), op(opI32Add), lset(1), lget(2), i32c(1), op(opI32Add), lset(2),
		op(opBr, 0, opEnd, opEnd), count())}
}

// firstByteUp adds one to the first byte of each value, in place.
func firstByteUp() asm {
	value := cat(lget(1), load32(descValue))
	return forEach(cat(value, value, op(0x2d, 0, 0), i32c(1), op(opI32Add), op(0x3a, 0, 0)))
}

// verdictWhere gives records whose value begins with c a status and a topic.
func verdictWhere(c byte, status, topic int32) asm {
	return forEach(cat(lget(1), load32(descValue), op(0x2d, 0, 0), i32c(int32(c)), op(0x46, opIf, 0x40),
		lget(1), i32c(status), store32(descStatus), lget(1), i32c(topic), store32(descTopic), op(opEnd)))
}

func valuesOf(b *record.Batch) []string {
	var out []string
	for _, r := range b.Records {
		out = append(out, string(b.Bytes(r.Value)))
	}
	return out
}

func TestLaterModulesSeeWhatEarlierOnesMade(t *testing.T) {
	r := newRuntime(t, Config{})
	up := load(t, r, Spec{Name: "up", Wasm: firstByteUp().wasm()})
	upper := load(t, r, Spec{Name: "upper", Wasm: testdata(t, "upper.wasm")})
	pass := load(t, r, Spec{Name: "pass", Wasm: testdata(t, "copy.wasm")})
	c := NewChain(pass, up, up, upper, pass)
	b := values("alpha", "bravo", "4711")
	if err := c.Run(t.Context(), b, Origin{}); err != nil {
		t.Fatal(err)
	}
	if got := valuesOf(b); fmt.Sprint(got) != "[CLPHA DRAVO 6711]" {
		t.Errorf("got %v", got)
	}

	for n, want := range []uint8{3, 3, 2} { // the module that changed it last
		if r := b.Records[n]; r.Verdict != record.Modified || r.Module != want {
			t.Errorf("record %d: %s by module %d, want %d", n, r.Verdict, r.Module, want)
		}
	}

	if len(b.Out) > 0 {
		t.Error("bytes that kept their length were copied")
	}
}

// oneByteLess cuts the last byte off each value.
func oneByteLess() asm {
	return forEach(cat(lget(1), lget(1), load32(descValue+4), i32c(1), op(0x6b), store32(descValue+4)))
}

// TestFramingHoldsOnlyWhileEveryModuleKeepsLengths: a record counts as changed
// in place only if nothing else ever happened to it.
func TestFramingHoldsOnlyWhileEveryModuleKeepsLengths(t *testing.T) {
	r := newRuntime(t, Config{})
	up := load(t, r, Spec{Name: "up", Wasm: firstByteUp().wasm()})
	less := load(t, r, Spec{Name: "less", Wasm: oneByteLess().wasm()})
	for name, c := range map[string]struct {
		chain   *Chain
		want    string
		inPlace bool
	}{
		"kept":           {NewChain(up, up), "[clpha dravo]", true},
		"kept, then cut": {NewChain(up, less), "[blph crav]", false},
		"cut, then kept": {NewChain(less, up), "[blph crav]", false},
		"between":        {NewChain(up, less, up), "[clph drav]", false},
	} {
		b := values("alpha", "bravo")
		if err := c.chain.Run(t.Context(), b, Origin{}); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(valuesOf(b)); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}

		for n := range b.Records {
			if got := b.Records[n].InPlace(); got != c.inPlace {
				t.Errorf("%s: record %d is in place: %t", name, n, got)
			}
		}
	}
}

func TestDecidedRecordsAreNotGivenToLaterModules(t *testing.T) {
	r := newRuntime(t, Config{})
	grant := Grant{Routes: []string{"quarantine"}}
	reject := load(t, r, Spec{Wasm: verdictWhere('r', 1, 0).wasm()})
	drop := load(t, r, Spec{Wasm: verdictWhere('d', 2, 0).wasm()})
	route := load(t, r, Spec{Wasm: verdictWhere('q', 3, 1).wasm(), Grant: grant})
	up := load(t, r, Spec{Wasm: firstByteUp().wasm()})
	b := values("reject", "drop", "quarantine", "pass")
	if err := NewChain(reject, drop, route, up).Run(t.Context(), b, Origin{}); err != nil {
		t.Fatal(err)
	}
	if got := valuesOf(b); fmt.Sprint(got) != "[reject drop quarantine qass]" {
		t.Errorf("got %v", got)
	}

	want := []record.Verdict{record.Rejected, record.Dropped, record.Routed, record.Modified}
	for n, r := range b.Records {
		if r.Verdict != want[n] || r.Module != uint8(n) {
			t.Errorf("record %d: %s by module %d", n, r.Verdict, r.Module)
		}
	}
}

func TestRejectedBatchEndsTheChain(t *testing.T) {
	r := newRuntime(t, Config{})
	refuse := load(t, r, Spec{Wasm: asm{transform: cat(lget(0), i32c(0), store32(frameErrIndex), i32c(guestRejectsBatch))}.wasm()})
	trap := load(t, r, Spec{Wasm: asm{transform: op(opUnreachable)}.wasm()})
	b := values("x", "y")
	if err := NewChain(refuse, trap).Run(t.Context(), b, Origin{}); err != nil || b.Records[0].Verdict != record.Rejected {
		t.Errorf("got %v, record 0 %s", err, b.Records[0].Verdict)
	}
}

func TestLargeBatchIsGivenInChunks(t *testing.T) {
	guest := firstByteUp()
	guest.pages = 100
	up := load(t, newRuntime(t, Config{}), Spec{Wasm: guest.wasm()})
	for _, c := range []struct{ records, size int }{{3000, 10}, {700, 1024}, {3, 300 << 10}, {1, 1 << 20}} {
		b := sized(c.records, c.size)
		before := valuesOf(b)
		if err := NewChain(up).Run(t.Context(), b, Origin{}); err != nil {
			t.Fatalf("%d records of %d bytes: %v", c.records, c.size, err)
		}

		for n, r := range b.Records {
			v := b.Bytes(r.Value)
			if r.Verdict != record.Modified || v[0] != before[n][0]+1 || string(v[1:]) != before[n][1:] {
				t.Fatalf("record %d of %d: %s", n, c.records, r.Verdict)
			}
		}
	}
}

func TestSmallArenaGrowsUntilTheOutputFits(t *testing.T) {
	// upper answers -2 while the arena is smaller than all values together.
	upper := load(t, newRuntime(t, Config{}), Spec{Wasm: testdata(t, "upper.wasm")})
	b := values(strings.Repeat("a", 1<<20))
	if err := NewChain(upper).Run(t.Context(), b, Origin{}); err != nil {
		t.Fatal(err)
	}
	if got := valuesOf(b)[0]; got != strings.Repeat("A", 1<<20) {
		t.Errorf("got %d bytes, beginning %.10q", len(got), got)
	}
}

// Guests do not free blocks: a new one for each size would use the memory up.
func TestLargeRecordsOfManySizesFit(t *testing.T) {
	upper := load(t, newRuntime(t, Config{}), Spec{Wasm: testdata(t, "upper.wasm"), Grant: Grant{Limits: Limits{Instances: 1}}})
	for n := range 100 {
		if err := NewChain(upper).Run(t.Context(), sized(1, 257<<10+n<<12), Origin{}); err != nil {
			t.Fatalf("record %d: %v", n, err)
		}
	}
}

func TestRecordLargerThanTheMemoryFails(t *testing.T) {
	upper := load(t, newRuntime(t, Config{}), Spec{Wasm: testdata(t, "upper.wasm"), Grant: Grant{Limits: Limits{MemoryBytes: 4 << 20}}})
	wantKind(t, NewChain(upper).Run(t.Context(), sized(1, 50<<20), Origin{}), TooLarge)
	wantKind(t, NewChain(upper).Run(t.Context(), sized(1, 150<<20), Origin{}), TooLarge)
	if err := NewChain(upper).Run(t.Context(), sized(1, 5000), Origin{}); err != nil {
		t.Errorf("after the failures: %v", err)
	}
}

// What LargestRecord says is so: in a fresh instance, and in one that other sizes
// have used up.
func TestLargestRecordFits(t *testing.T) {
	limits := Limits{MemoryBytes: 4 << 20, Instances: 1, OutputBytes: 100 << 20}
	upper := load(t, newRuntime(t, Config{}), Spec{Wasm: testdata(t, "upper.wasm"), Grant: Grant{Limits: limits}})
	largest := limits.LargestRecord(upper.Info())
	if largest < 20<<20 {
		t.Errorf("the largest record has only %d bytes", largest)
	}

	for _, size := range []int{largest - 100, largest / 3, largest / 2, largest - 100, 1000, largest - 100} {
		if err := NewChain(upper).Run(t.Context(), sized(1, size), Origin{}); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestOutputLimitHoldsForTheWholeBatch(t *testing.T) {
	// 2000 records of 1 KiB each turn into capitals: more than 1 MiB in two chunks or more.
	upper := load(t, newRuntime(t, Config{}), Spec{Wasm: testdata(t, "upper.wasm"), Grant: Grant{Limits: Limits{OutputBytes: 1 << 20}}})
	err := NewChain(upper).Run(t.Context(), sized(2000, 1024), Origin{})
	wantKind(t, err, OutputInvalid)
	if !errors.Is(err, errRoom) {
		t.Errorf("got %v", err)
	}
}

func TestEmptyBatchAndEmptyChainPass(t *testing.T) {
	trap := load(t, newRuntime(t, Config{}), Spec{Wasm: asm{transform: op(opUnreachable)}.wasm()})
	if err := NewChain(trap).Run(t.Context(), newBatch(), Origin{}); err != nil {
		t.Error(err)
	}
	if err := NewChain().Run(t.Context(), values("x"), Origin{}); err != nil {
		t.Error(err)
	}
}

func TestChainIsSafeForConcurrentUse(t *testing.T) {
	r := newRuntime(t, Config{})
	up := load(t, r, Spec{Wasm: firstByteUp().wasm(), Grant: Grant{Limits: Limits{Instances: 3}}})
	upper := load(t, r, Spec{Wasm: testdata(t, "upper.wasm"), Grant: Grant{Limits: Limits{Instances: 2}}})
	c := NewChain(up, upper)
	var running sync.WaitGroup
	for g := range 8 {
		running.Go(func() {
			value := fmt.Sprintf("%c-goroutine", 'a'+g)
			want := strings.ToUpper(fmt.Sprintf("%c-goroutine", 'b'+g))
			for range 50 {
				b := values(value, value, value)
				if err := c.Run(t.Context(), b, Origin{}); err != nil {
					t.Error(err)
					return
				}

				if got := valuesOf(b); got[0] != want || got[2] != want {
					t.Errorf("got %v, want %s", got, want)
					return
				}
			}
		})
	}

	running.Wait()
	if len(up.pool.idle) > 3 || len(upper.pool.idle) > 2 {
		t.Errorf("more instances than allowed: %d and %d", len(up.pool.idle), len(upper.pool.idle))
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	r := newRuntime(t, Config{})
	for _, guest := range []string{"copy.wasm", "upper.wasm"} {
		c := NewChain(load(t, r, Spec{Wasm: testdata(t, guest)}))
		b := sized(500, 1024)
		rewind := rewinder(b)

		allocs := testing.AllocsPerRun(20, func() {
			rewind()
			if err := c.Run(t.Context(), b, Origin{Topic: "t"}); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > 0 {
			t.Errorf("%s: %.1f allocations for a batch", guest, allocs)
		}
	}
}

// keeper passes everything on and keeps a number of its batch in a global: it
// traps when it finds another one's. The number is the topic's, which the frame has.
func keeper() asm {
	return asm{globals: [][]byte{cat(op(0x7f, 1), i32c(0), op(opEnd))}, transform: cat(
		op(opGlobalGet, 1, opIf, 0x40, opGlobalGet, 1), frameField(frameTopic), op(0x47, opIf, 0x40, opUnreachable, opEnd, opEnd),
		frameField(frameTopic), op(opGlobalSet, 1), copyDescs(), count())}
}

// What a module keeps in its memory stays with the topic, whoever else uses the
// module, and however few instances it may have.
func TestIsolatedTopicsShareNoInstance(t *testing.T) {
	for _, instances := range []int{1, 2, 10} {
		m := load(t, newRuntime(t, Config{}), Spec{Wasm: keeper().wasm(), Grant: Grant{Limits: Limits{Instances: instances}}})
		shared := NewChain(m)
		isolated := NewChain(m).PerTopic()

		for round := range 5 {
			for _, topic := range []string{"payments", "public", "payments", "alerts"} {
				if err := isolated.Run(t.Context(), values("x"), Origin{Topic: topic}); err != nil {
					t.Fatalf("%d instances, round %d: %s met another topic's instance: %v", instances, round, topic, err)
				}
			}
			if err := shared.Run(t.Context(), values("x"), Origin{Topic: "elsewhere"}); err != nil {
				t.Fatalf("%d instances, round %d: a shared batch met an isolated topic's instance: %v", instances, round, err)
			}
		}

		if len(m.pool.idle) > instances {
			t.Errorf("%d instances where %d are allowed", len(m.pool.idle), instances)
		}
	}

	// Without isolation they do meet: the test would see it.
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: keeper().wasm(), Grant: Grant{Limits: Limits{Instances: 1}}})
	if err := NewChain(m).Run(t.Context(), values("x"), Origin{Topic: "payments"}); err != nil {
		t.Fatal(err)
	}

	wantKind(t, NewChain(m).Run(t.Context(), values("x"), Origin{Topic: "public"}), Trap)
}
