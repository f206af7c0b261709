package transforms

import (
	"errors"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

const testReasons = "first\nsecond"

// header block {"k": "v"}.
var someHeaders = []byte{2, 2, 'k', 2, 'v'}

// threeRecords are what the guests of this file are given.
func threeRecords() *record.Batch {
	return newBatch(testRecord{key: []byte("k0"), value: []byte("value zero"), headers: someHeaders},
		testRecord{value: []byte("value one")}, testRecord{key: []byte("k2")})
}

// runGuest runs the assembled guest over three records. Its routes are alerts
// and quarantine.
func runGuest(t *testing.T, a asm) (*record.Batch, error) {
	t.Helper()
	if a.reasons == "" {
		a.reasons = testReasons
	}

	spec := Spec{Wasm: a.wasm(), Grant: Grant{Routes: []string{"alerts", "quarantine"}}}
	return runBothWays(t, spec, threeRecords, Origin{Topic: "orders", Partition: 3})
}

// atInput writes a byte into the first record's value in the input block.
func atInput(v byte) []byte {
	return cat(frameField(frameInDescs), load32(descValue), i32c(int32(v)), op(0x3a, 0, 0))
}

func TestInvalidOutputIsRefused(t *testing.T) {
	for _, c := range []struct {
		rule      string
		transform []byte
		want      error
	}{
		{"MoreDescriptorsThanRecords", cat(copyDescs(), i32c(4)), errCount},
		{"SourceRepeated", tampered(setOut(1, descSource, 0)), errSource},
		{"SourceDescending", cat(copyDesc(0, 1), copyDesc(1, 0), i32c(2)), errSource},
		{"SourceOutOfRange", tampered(setOut(2, descSource, 3)), errSource},
		{"SourceNegative", tampered(setOut(2, descSource, -1)), errSource},
		{"TimestampChanged", tampered(setOut(1, descTimestamp, 5)), errTimestamp},
		{"TimestampChangedOnReject", tampered(setOut(1, descTimestamp, 5), setOut(1, descStatus, 1)), errTimestamp},
		{"UnknownFlag", tampered(setOut(0, descFlags, 16)), errFlags},
		{"UnknownHighFlag", tampered(setOut(0, descFlags, 1<<24)), errFlags},
		{"UnknownVerdict", tampered(setOut(0, descStatus, 4)), errStatus},
		{"ReservedStatusBits", tampered(setOut(0, descStatus, 1<<8)), errStatus},
		{"ReasonOutsideCatalogue", tampered(setOut(0, descStatus, 1|3<<16)), errReason},
		{"RouteOutsideGrant", tampered(setOut(0, descStatus, 3), setOut(0, descTopic, 3)), errRoute},
		{"RouteWithoutTopic", tampered(setOut(0, descStatus, 3)), errRoute},
		{"TopicWithoutRoute", tampered(setOut(0, descTopic, 1)), errRoute},
		{"TopicWithReject", tampered(setOut(0, descStatus, 1), setOut(0, descTopic, 1)), errRoute},
		{"KeyOutOfMemory", tampered(setOut(0, descKey, -1)), errPointer},
		{"ValueLengthOutOfMemory", tampered(setOut(0, descValue+4, -1)), errPointer},
		{"ValueOverflowsPointer", tampered(setOut(0, descValue, -16), setOut(0, descValue+4, 32)), errPointer},
		{"HeadersOutOfMemory", tampered(setOut(0, descFlags, 4), setOut(0, descHeaders, 0x7fffffff)), errPointer},
		{"HeadersWithoutFlag", tampered(setOut(0, descHeaders, 64), setOut(0, descHeaders+4, 4)), errHeaderFlag},
		{"HeadersMalformed", tampered(setOut(0, descFlags, 4), setOut(0, descHeaders+4, 3)), errHeaders},
		{"HeadersEmpty", tampered(setOut(0, descFlags, 4), setOut(0, descHeaders+4, 0)), errHeaders},
		{"OutputAboveLimit", tampered(setOut(0, descValue, 4096), setOut(0, descValue+4, 1<<20)), errRoom},
		{"RejectedIndexOutOfRange", cat(lget(0), i32c(3), store32(frameErrIndex), i32c(guestRejectsBatch)), errIndex},
		{"RejectedWithoutIndex", i32c(guestRejectsBatch), errIndex},
		{"RejectedReasonOutsideCatalogue", cat(lget(0), i32c(0), store32(frameErrIndex), lget(0), i32c(9), store32(frameErrReason), i32c(guestRejectsBatch)), errReason},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, err := runGuest(t, asm{transform: c.transform})
			wantKind(t, err, OutputInvalid)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestGuestFailureCodes(t *testing.T) {
	for code, want := range map[int32]Kind{guestInternal: GuestFailed, guestVersion: GuestFailed, guestMalformed: GuestFailed,
		-77: GuestFailed, guestArenaTooSmall: Memory} {
		_, err := runGuest(t, asm{transform: i32c(code)})
		wantKind(t, err, want)
	}
}

func TestBlocksThatGuestMustNotReturn(t *testing.T) {
	for rule, c := range map[string]struct {
		alloc []byte
		kind  Kind
	}{
		"Null":        {i32c(0), Memory},
		"OutOfMemory": {i32c(-64), OutputInvalid},
		"NotAligned":  {i32c(4097), OutputInvalid},
		"Trap":        {op(opUnreachable), Trap},
	} {
		t.Run(rule, func(t *testing.T) {
			_, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "guest", Wasm: asm{alloc: c.alloc}.wasm()})
			wantKind(t, err, c.kind)
		})
	}
}

func TestCopiedDescriptorsPassRecordsUntouched(t *testing.T) {
	b, err := runGuest(t, asm{})
	if err != nil {
		t.Fatal(err)
	}

	for n, r := range b.Records {
		if r.Verdict != record.Passed {
			t.Errorf("record %d is %s", n, r.Verdict)
		}
	}

	if b.Changed || len(b.Out) > 0 {
		t.Error("the batch counts as changed")
	}
}

func TestOmittedRecordIsDropped(t *testing.T) {
	b, err := runGuest(t, asm{transform: cat(copyDesc(0, 1), i32c(1))})
	if err != nil {
		t.Fatal(err)
	}

	for n, want := range []record.Verdict{record.Dropped, record.Passed, record.Dropped} {
		if got := b.Records[n].Verdict; got != want {
			t.Errorf("record %d is %s, want %s", n, got, want)
		}
	}

	if !b.Changed {
		t.Error("the batch does not count as changed")
	}
}

func TestVerdictsCarryTheirReason(t *testing.T) {
	b, err := runGuest(t, asm{transform: tampered(setOut(0, descStatus, 1|2<<16), setOut(1, descStatus, 2|1<<16),
		setOut(2, descStatus, 3|1<<16), setOut(2, descTopic, 2))})
	if err != nil {
		t.Fatal(err)
	}

	for n, want := range []record.Record{{Verdict: record.Rejected, Reason: 2}, {Verdict: record.Dropped, Reason: 1},
		{Verdict: record.Routed, Reason: 1, Route: 1}} {
		got := b.Records[n]
		if got.Verdict != want.Verdict || got.Reason != want.Reason || got.Route != want.Route {
			t.Errorf("record %d: %s, reason %d, route %d", n, got.Verdict, got.Reason, got.Route)
		}
	}
}

func TestInPlaceMutationIsFoundWithoutBeingTold(t *testing.T) {
	b, err := runGuest(t, asm{transform: cat(copyDescs(), atInput('V'), count())})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.Records[0]; r.Verdict != record.Modified || string(b.Bytes(r.Value)) != "Value zero" {
		t.Errorf("record 0 is %s with %q", r.Verdict, b.Bytes(r.Value))
	}
	if !b.Records[0].InPlace() {
		t.Error("a value of the same length was not overwritten in place")
	}

	for n, r := range b.Records[1:] {
		if r.Verdict != record.Passed {
			t.Errorf("record %d is %s", n+1, r.Verdict)
		}
	}
}

func TestInPlaceMutationOfHeadersIsChecked(t *testing.T) {
	at := cat(frameField(frameInDescs), load32(descHeaders))
	b, err := runGuest(t, asm{transform: cat(copyDescs(), at, i32c('x'), op(0x3a, 0, 2), count())})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.Records[0]; r.Verdict != record.Modified || string(b.Bytes(r.Headers)) != "\x02\x02x\x02v" {
		t.Errorf("record 0 is %s with %q", r.Verdict, b.Bytes(r.Headers))
	}

	_, err = runGuest(t, asm{transform: cat(copyDescs(), at, i32c(60), op(0x3a, 0, 1), count())})
	if !errors.Is(err, errHeaders) {
		t.Errorf("got %v", err)
	}
}

func TestSameBytesElsewhereAreNoChange(t *testing.T) {
	// The value is copied to the arena.
	code := cat(frameField(frameArena), frameField(frameInDescs), load32(descValue), i32c(10), memoryCopy(), copyDescs(),
		frameField(frameOutDescs), frameField(frameArena), store32(descValue), count())
	b, err := runGuest(t, asm{transform: code})
	if err != nil {
		t.Fatal(err)
	}
	if b.Changed || b.Records[0].Verdict != record.Passed {
		t.Errorf("record 0 is %s", b.Records[0].Verdict)
	}
}

func TestFieldsMayBecomeNullAndBack(t *testing.T) {
	b, err := runGuest(t, asm{transform: tampered(setOut(0, descFlags, 3), setOut(1, descFlags, 0))})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.Records[0]; !r.Key.IsNull() || !r.Value.IsNull() || r.Verdict != record.Modified {
		t.Errorf("record 0: %+v", r)
	}
	if r := b.Records[1]; r.Key.IsNull() || r.Key.Len != 0 || r.Verdict != record.Modified {
		t.Errorf("record 1: %+v", r)
	}
}

func TestPassWithReasonButNoChangeStaysPassed(t *testing.T) {
	b, err := runGuest(t, asm{transform: tampered(setOut(0, descStatus, 1<<16))})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.Records[0]; r.Verdict != record.Passed || r.Reason != 0 || b.Changed {
		t.Errorf("record 0: %s, reason %d", r.Verdict, r.Reason)
	}
}

func TestRejectedBatchNamesItsRecord(t *testing.T) {
	b, err := runGuest(t, asm{transform: cat(lget(0), i32c(1), store32(frameErrIndex), lget(0), i32c(2), store32(frameErrReason), i32c(guestRejectsBatch))})
	if err != nil {
		t.Fatal(err)
	}
	if r := b.Records[1]; r.Verdict != record.Rejected || r.Reason != 2 || !b.Changed {
		t.Errorf("record 1: %s, reason %d", r.Verdict, r.Reason)
	}
}

// The guest traps unless every field of the frame is what docs/abi.md says.
func TestFrameTellsWhatTheABISays(t *testing.T) {
	var code []byte
	for _, f := range []struct {
		off  uint32
		want int32
	}{{0, 72}, {frameFlags, 0}, {frameInCount, 3}, {frameOutCap, 3}, {frameOutCount, 0}, {frameArenaCap, 256 << 10},
		{frameArenaUsed, 0}, {frameTopic, int32(Origin{Topic: "orders"}.hash())}, {framePartition, 3}, {frameOffset, 0},
		{frameOffset + 4, 0}, {frameErrIndex, -1}, {frameErrReason, 0},
		{frameFeatures, featureEdits}, {frameFeatures + 4, 0}} {
		code = cat(code, frameField(f.off), i32c(f.want), op(0x47, opIf, 0x40, opUnreachable, opEnd))
	}

	if _, err := runGuest(t, asm{transform: cat(code, copyDescs(), count())}); err != nil {
		t.Error(err)
	}
}

func TestInputDescriptorsTellWhatTheABISays(t *testing.T) {
	var code []byte
	check := func(n int, field uint32, want int32) {
		code = cat(code, frameField(frameInDescs), load32(uint32(n*descriptorSize)+field), i32c(want), op(0x47, opIf, 0x40, opUnreachable, opEnd))
	}
	for n, flags := range []int32{0, 1, 2} {
		check(n, descFlags, flags)
		check(n, descSource, int32(n))
		check(n, descTopic, 0)
		check(n, descStatus, 0)
	}

	check(0, descKey+4, 2)
	check(0, descValue+4, 10)
	check(0, descHeaders+4, 5)
	check(1, descKey, 0)
	check(1, descValue+4, 9)
	check(2, descValue, 0)
	check(2, descHeaders+4, 1)

	if _, err := runGuest(t, asm{transform: cat(code, copyDescs(), count())}); err != nil {
		t.Error(err)
	}
}

func TestHeaderBlocks(t *testing.T) {
	for name, c := range map[string]struct {
		block string
		valid bool
	}{
		"None":          {"\x00", true},
		"One":           {"\x02\x02k\x02v", true},
		"NullValue":     {"\x02\x02k\x01", true},
		"EmptyKey":      {"\x02\x00\x00", true},
		"Two":           {"\x04\x02k\x02v\x02k\x02w", true},
		"Empty":         {"", false},
		"NullKey":       {"\x02\x01\x02v", false},
		"NegativeCount": {"\x01", false},
		"ValueMinusTwo": {"\x02\x02k\x03", false},
		"Behind":        {"\x00\x00", false},
		"KeyTooLong":    {"\x02\x08k\x02v", false},
		"ValueTooLong":  {"\x02\x02k\x08v", false},
		"CountTooHigh":  {"\x06\x02k\x02v", false},
		"CountBomb":     {"\xfe\xff\xff\xff\x0f", false},
		"LongVarint":    {"\x80\x80\x80\x80\x80\x00", false},
		"CutVarint":     {"\x80", false},
	} {
		if got := validHeaders([]byte(c.block)); got != c.valid {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
