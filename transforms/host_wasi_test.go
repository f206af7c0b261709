package transforms

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// goGuest is a module that Go's own compiler makes, of the toolchain that runs
// the tests.
func goGuest(t testing.TB) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s", "-o", out, "guest.go")
	cmd.Dir = filepath.Join("testdata", "toolchains", "go")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}

	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestModulesOfGosOwnCompilerRunAndSeeNothingOfTheWorld(t *testing.T) {
	file := goGuest(t)
	var printed bytes.Buffer
	var events []LogEvent
	r := newRuntime(t, Config{
		Log:    func(e LogEvent) { events = append(events, e) },
		Output: func(text []byte) { printed.Write(text) },
	})
	m := load(t, r, Spec{Wasm: file, Grant: Grant{HostFunctions: AllHostFunctions()}})

	batch := values("hello, World", "", "world", "ünïcode")
	for n := range batch.Records {
		batch.Records[n].Timestamp = 1_700_000_000_123
	}
	if err := NewChain(m).Run(t.Context(), batch, Origin{}); err != nil {
		t.Fatal(err)
	}

	for n, want := range []string{"HELLO, WORLD", "", "args 0, env 0, time 1700000000123", "ÜNÏCODE"} {
		if got := string(batch.Bytes(batch.Records[n].Value)); got != want {
			t.Errorf("record %d is %q, want %q", n, got, want)
		}
	}
	if printed.String() != "what a guest prints\n" {
		t.Errorf("it printed %q", &printed)
	}
	for _, e := range events {
		if e.Reason != "wasi.fd_write" {
			t.Errorf("the log has %q of it", e.Reason)
		}
	}

	// Each function is granted by name.
	granted := slices.DeleteFunc(AllHostFunctions(), func(name string) bool { return name == "wasi_snapshot_preview1.random_get" })
	_, err := r.Load(t.Context(), Spec{Name: "guest", Wasm: file, Grant: Grant{HostFunctions: granted}})
	if err == nil || !strings.Contains(err.Error(), `"wasi_snapshot_preview1.random_get" is not granted`) {
		t.Errorf("without the grant of one function: %v", err)
	}
}

func TestRandomBytesFollowFromTheModule(t *testing.T) {
	first := drawn(t, Config{})
	if again := drawn(t, Config{}); again != first {
		t.Errorf("the same module drew %x, and then %x", first, again)
	}
	if first == strings.Repeat("\x00", 16) {
		t.Error("nothing was drawn")
	}
}

// drawn is what a guest gets of random_get for its first record.
func drawn(t *testing.T, c Config) string {
	t.Helper()
	i := wasiInstance(t, c)
	if code := wasiRandom(i, []uint64{1024, 16}); code != wasiOK {
		t.Fatal(code)
	}
	got, _ := i.mem.Read(1024, 16)
	return string(got)
}

// wasiInstance is an instance whose memory tests write with WASI's functions.
func wasiInstance(t *testing.T, c Config) *instance {
	t.Helper()
	m := load(t, newRuntime(t, c), Spec{Wasm: asm{}.wasm()})
	i, err := m.newInstance(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.free(t.Context()) })
	return i
}

// A guest gives WASI's functions whatever it likes.
func TestWASIChecksItsArguments(t *testing.T) {
	i := wasiInstance(t, Config{})
	outside := uint64(i.mem.Size()) - 2
	i.mem.WriteUint32Le(0, uint32(outside)) // a piece of text that lies outside
	i.mem.WriteUint32Le(4, 100)
	for n := range uint32(3) { // three pieces of text, each the most that a call takes
		i.mem.WriteUint32Le(128+8*n, 0)
		i.mem.WriteUint32Le(132+8*n, 50_000)
	}
	i.mem.WriteUint32Le(152, 0)
	i.mem.WriteUint32Le(156, maxHostBytes)
	i.mem.Write(512, []byte{7, 0, 0, 0, 0, 0, 0, 0, 2}) // waits for a file
	i.environment = []string{"NAME=value"}

	for name, c := range map[string]struct {
		call func(*instance, []uint64) int32
		args []uint64
		want int32
	}{
		"no arguments outside":      {wasiSizes(arguments), []uint64{outside, 0}, wasiFault},
		"pointers outside":          {wasiTexts(environment), []uint64{outside, 0}, wasiFault},
		"texts outside":             {wasiTexts(environment), []uint64{64, outside}, wasiFault},
		"waiting for nothing":       {wasiPoll, []uint64{512, 1024, 0, 2048}, wasiInvalid},
		"waiting without end":       {wasiPoll, []uint64{512, 1024, 1 << 31, 2048}, wasiInvalid},
		"waiting for a file":        {wasiPoll, []uint64{512, 1024, 1, 2048}, wasiOK},
		"waiting outside":           {wasiPoll, []uint64{outside, 1024, 1, 2048}, wasiFault},
		"events outside":            {wasiPoll, []uint64{512, outside, 1, 2048}, wasiFault},
		"how many outside":          {wasiPoll, []uint64{512, 1024, 1, outside}, wasiFault},
		"time outside":              {wasiClock, []uint64{wasiRealtime, 0, outside}, wasiFault},
		"a clock that is not there": {wasiClock, []uint64{9, 0, 0}, wasiInvalid},
		"resolution outside":        {wasiClockResolution, []uint64{0, outside}, wasiFault},
		"kind of a file outside":    {wasiFileKind, []uint64{1, outside}, wasiFault},
		"kind of no file":           {wasiFileKind, []uint64{3, 0}, wasiBadFile},
		"reading outside":           {wasiRead, []uint64{0, 0, 0, outside}, wasiFault},
		"reading no file":           {wasiRead, []uint64{7, 0, 0, 0}, wasiBadFile},
		"closing no file":           {wasiFile(wasiOK), []uint64{1 << 31}, wasiBadFile},
		"writing to no file":        {wasiWrite, []uint64{3, 0, 1, 16}, wasiBadFile},
		"writing from outside":      {wasiWrite, []uint64{1, 0, 1, 16}, wasiFault},
		"pieces outside":            {wasiWrite, []uint64{1, outside, 1, 16}, wasiFault},
		"endless pieces":            {wasiWrite, []uint64{1, 0, 1 << 31, 16}, wasiInvalid},
		"pieces of a call":          {wasiWrite, []uint64{1, 128, 1, 16}, wasiOK},
		"pieces of too much":        {wasiWrite, []uint64{1, 128, 4, 24}, wasiInvalid},
		"count outside":             {wasiWrite, []uint64{1, 0, 0, outside}, wasiFault},
		"random bytes outside":      {wasiRandom, []uint64{outside, 100}, wasiFault},
		"endless random bytes":      {wasiRandom, []uint64{0, 1 << 31}, wasiFault},
	} {
		if got := c.call(i, c.args); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// The time is the records', also when the blocks of a guest grow between two
// calls.
func TestTimeIsThatOfTheRecords(t *testing.T) {
	i := wasiInstance(t, Config{})
	if now := clockNow(t, i); now != 0 {
		t.Errorf("before any record it is %d", now)
	}

	large := new(record.Batch)
	*large = *values("a", "b", "c")
	i.chunk.begin(large, Origin{}, 0, i.module.limits)
	i.chunk.current = append(i.chunk.current, 2)
	large.Records[2].Timestamp = 77
	if now := clockNow(t, i); now != 77_000_000 {
		t.Errorf("it is %d, want the third record's", now)
	}
	i.chunk.begin(values("a"), Origin{}, 0, i.module.limits)
	if now := clockNow(t, i); now != 0 {
		t.Errorf("after the batch it is %d", now)
	}
}

func clockNow(t *testing.T, i *instance) uint64 {
	t.Helper()
	if code := wasiClock(i, []uint64{wasiRealtime, 0, 64}); code != wasiOK {
		t.Fatal(code)
	}
	now, _ := i.mem.Read(64, 8)
	return binary.LittleEndian.Uint64(now)
}

// BenchmarkToolchains is one job, upper case of 1 KiB, by guests of several
// toolchains in one run.
func BenchmarkToolchains(b *testing.B) {
	guests := map[string][]byte{"go": goGuest(b)}
	for _, name := range []string{"clang20", "rust_unknown_release", "assemblyscript_release"} {
		guests[name] = testdata(b, filepath.Join("toolchains", name+".wasm"))
	}

	const records = 100
	text := strings.Repeat("abcdefgh", 128)
	for _, name := range slices.Sorted(maps.Keys(guests)) {
		b.Run(name, func(b *testing.B) {
			spec := Spec{Wasm: guests[name], Grant: Grant{HostFunctions: AllHostFunctions(), Limits: Limits{MemoryBytes: 64 << 20}}}
			chain := NewChain(load(b, newRuntime(b, Config{}), spec))
			for b.Loop() {
				batch := values(slices.Repeat([]string{text}, records)...)
				if err := chain.Run(b.Context(), batch, Origin{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
		})
	}
}
