package transforms

import (
	"strings"
	"testing"
)

const (
	stateCount = "guardlock_state.count"
	stateSeen  = "guardlock_state.seen"
	stateSince = "guardlock_state.since"
)

// counter is a guest that makes the first record's value as long as its key came in
// a minute.
func counter() asm {
	return hostGuest(stateCount, typFour, cat(i32c(0), firstValue(), i32c(60_000)), 0)
}

func stateModuleOf(t *testing.T, config Config, a asm) *Module {
	t.Helper()
	return load(t, newRuntime(t, config), Spec{Wasm: a.wasm(), Grant: Grant{HostFunctions: AllHostFunctions(), Keys: []Key{{"k", testSecret}}}})
}

// counts runs a batch of one record through a chain and returns how long its value is.
func counts(t *testing.T, c *Chain, value string, ms int64, at Origin) int {
	t.Helper()
	b := values(value)
	b.Records[0].Timestamp = ms
	if err := c.Run(t.Context(), b, at); err != nil {
		t.Fatal(err)
	}
	return int(b.Records[0].Value.Len)
}

func TestCountIsByKeyPartitionAndWindow(t *testing.T) {
	c := NewChain(stateModuleOf(t, Config{}, counter()))
	here := Origin{Topic: "cards", Partition: 1}
	for n, s := range []struct {
		value string
		ms    int64
		at    Origin
		want  int
	}{
		{"4111", 0, here, 1},
		{"4111", 10_000, here, 2},
		{"4112", 10_000, here, 1},
		{"4111", 59_000, here, 3},
		{"4111", 59_000, Origin{Topic: "cards", Partition: 2}, 1},
		{"4111", 59_000, Origin{Topic: "others", Partition: 1}, 1},
		{"4111", 80_000, here, 2}, // that of 59 s
		{"4111", 500_000, here, 1},
	} {
		if got := counts(t, c, s.value, s.ms, s.at); got != s.want {
			t.Errorf("%d: %s at %d ms on %v came %d times, want %d", n, s.value, s.ms, s.at, got, s.want)
		}
	}
}

// The guest adds ten to what it is told, so that a key which was never seen (-8) makes
// a value of two bytes.
func TestSeenTellsSinceTheLastTime(t *testing.T) {
	a := hostGuest(stateSeen, typThree, cat(i32c(0), firstValue()), 0)
	a.transform = cat(a.transform[:len(a.transform)-len(count())],
		frameField(frameOutDescs), cat(i32c(hostOut-4), load32(0), i32c(10), op(opI32Add)), store32(descValue+4), count())
	c := NewChain(stateModuleOf(t, Config{}, a))
	for n, s := range []struct {
		value string
		ms    int64
		want  int
	}{{"4111", 100, 2}, {"4111", 142, 52}, {"4112", 142, 2}, {"4111", 142, 10}, {"4111", 140, 10}, {"4111", 150, 18}} {
		if got := counts(t, c, s.value, s.ms, Origin{}); got != s.want {
			t.Errorf("%d: %s at %d ms: %d, want %d", n, s.value, s.ms, got-10, s.want-10)
		}
	}
}

// What is not stored was not counted: a batch that fails, one that a later module
// fails or rejects, and a call that is made once more for want of space.
func TestOnlyWhatIsStoredIsCounted(t *testing.T) {
	fails := asm{transform: op(opUnreachable)}
	rejects := asm{transform: tampered(setOut(0, descStatus, verdictReject))}
	for rule, next := range map[string]asm{"Fails": fails, "Rejects": rejects} {
		m := stateModuleOf(t, Config{}, counter())
		after := stateModuleOf(t, Config{}, next)
		for range 3 {
			_ = NewChain(m, after).Run(t.Context(), values("4111"), Origin{})
		}
		if got := counts(t, NewChain(m), "4111", 1_700_000_000_000, Origin{}); got != 1 {
			t.Errorf("%s: it is counted %d times", rule, got)
		}
	}
}

func TestCallThatIsMadeOnceMoreCountsOnce(t *testing.T) {
	a := counter()
	// -2 while the arena is as small as it was at first.
	a.transform = cat(a.transform[:len(a.transform)-len(count())],
		frameField(frameArenaCap), i32c(chunkBytes+1), op(opI32LtS), op(opIf, 0x40), i32c(guestArenaTooSmall), op(opReturn, opEnd), count())
	c := NewChain(stateModuleOf(t, Config{}, a))
	for want := 1; want <= 3; want++ {
		if got := counts(t, c, "4111", 1_700_000_000_000, Origin{}); got != want {
			t.Errorf("it came %d times, want %d", got, want)
		}
	}
}

func TestBatchThatIsSentAgainIsCountedOnce(t *testing.T) {
	c := NewChain(stateModuleOf(t, Config{}, counter()))
	batch := func(sequence int32) Origin {
		return Origin{Topic: "cards", Sent: BatchID{Known: true, Producer: 7, Sequence: sequence, CRC: 4711}}
	}
	for n, s := range []struct {
		at   Origin
		want int
	}{{batch(0), 1}, {batch(0), 1}, {batch(1), 2}, {batch(0), 2}, {batch(1), 2}, {Origin{Topic: "cards"}, 3}, {Origin{Topic: "cards"}, 4}} {
		if got := counts(t, c, "4111", 1_700_000_000_000, s.at); got != s.want {
			t.Errorf("%d: it came %d times, want %d", n, got, s.want)
		}
	}
}

func TestStateOfALoadedModuleIsEmptyAndSaysSo(t *testing.T) {
	since := hostGuest(stateSince, typTransform, i32c(0), 0)
	c := NewChain(stateModuleOf(t, Config{}, since))
	if got := counts(t, c, "x", 1_700_000_000_000, Origin{}); got != 0 {
		t.Errorf("it counts since %d ms before it was loaded", got)
	}

	// By the records' clock there was nothing before.
	always := expectResult(stateSince, typTransform, i32c(0), 1<<31-1)
	if got := counts(t, NewChain(stateModuleOf(t, Config{RecordClock: true}, always)), "x", 0, Origin{}); got != 1 {
		t.Errorf("the value has %d bytes", got)
	}
}

func TestHostileArgumentsOfState(t *testing.T) {
	long := strings.Repeat("k", 1025)
	for rule, c := range map[string]struct {
		name string
		typ  uint32
		args []byte
		want int32
	}{
		"Record":         {stateCount, typFour, cat(i32c(1), i32c(0), i32c(0), i32c(1)), hostBadArguments},
		"RecordNegative": {stateCount, typFour, cat(i32c(-1), i32c(0), i32c(0), i32c(1)), hostBadArguments},
		"KeyOut":         {stateCount, typFour, cat(i32c(0), i32c(-1), i32c(2), i32c(1)), hostBadArguments},
		"KeyLong":        {stateCount, typFour, cat(i32c(0), firstValue(), i32c(1)), hostBadArguments},
		"WindowZero":     {stateCount, typFour, cat(i32c(0), i32c(0), i32c(0), i32c(0)), hostBadArguments},
		"WindowNegative": {stateCount, typFour, cat(i32c(0), i32c(0), i32c(0), i32c(-5)), hostBadArguments},
		"WindowLargest":  {stateCount, typFour, cat(i32c(0), i32c(0), i32c(0), i32c(1<<31-1)), 1},
		"SeenRecord":     {stateSeen, typThree, cat(i32c(1), i32c(0), i32c(0)), hostBadArguments},
		"SeenKeyOut":     {stateSeen, typThree, cat(i32c(0), i32c(-1), i32c(2)), hostBadArguments},
		"SeenKeyLong":    {stateSeen, typThree, cat(i32c(0), firstValue()), hostBadArguments},
		"SinceRecord":    {stateSince, typTransform, i32c(1), hostBadArguments},
	} {
		t.Run(rule, func(t *testing.T) {
			if err := runHere(t, c.name, expectResult(c.name, c.typ, c.args, c.want), long); err != nil {
				t.Error(err)
			}
		})
	}
}

// A module that asks while it starts has no record to ask about.
func TestStateIsNotThereWhileAModuleStarts(t *testing.T) {
	start := asm{imports: [][]byte{importFunc("guardlock_state", "since", typTransform)},
		extra: []asmFunc{{typ: typVoid, export: "_initialize", code: cat(i32c(0), call(0), i32c(hostBadArguments), op(0x47, opIf, 0x40, opUnreachable, opEnd))}}}
	stateModuleOf(t, Config{}, start)
}
