package transforms

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// Where the host's blocks lie in the vectors, in the memory of a guest that got larger
// ones: docs/abi.md says so.
var vectorLayout = layout{frame: 0x20000, inDescs: 0x20100, outDescs: 0x20200, input: 0x20300, inputCap: 0x100, arena: 0x20400, arenaCap: 0x100}

// A vector in docs/abi.md is a block of text. Its first lines give the records; the rest
// is what the host and the guest make of them.
var (
	vectorBlock = regexp.MustCompile("(?s)```text\n(given .*?)```\n")
	vectorGiven = regexp.MustCompile(`(?m)^given +key ("[^"]*") value ("[^"]*")$`)
)

// TestVectorsAreWhatHostAndGuestDo runs each vector of docs/abi.md: the host of this
// package fills the blocks, a guest that was written with the C SDK answers in the
// sandbox, and the host judges. With -update the document is written again.
func TestVectorsAreWhatHostAndGuestDo(t *testing.T) {
	const file = "../docs/abi.md"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	m := load(t, newRuntime(t, Config{}), Spec{Wasm: testdata(t, "vectors.wasm"), Grant: Grant{Routes: []string{"alerts", "quarantine"}}})
	seen := map[string]bool{}
	want := vectorBlock.ReplaceAllStringFunc(string(raw), func(block string) string {
		given := vectorGiven.FindAllStringSubmatch(block, -1)
		var records []testRecord
		for _, g := range given {
			records = append(records, testRecord{key: unquoted(t, g[1]), value: unquoted(t, g[2])})
		}

		text, verdicts := runVector(t, m, newBatch(records...), given)
		for _, v := range verdicts {
			seen[v] = true
		}
		return "```text\n" + text + "```\n"
	})

	for _, v := range []string{"passed", "modified", "dropped", "rejected", "routed"} {
		if !seen[v] {
			t.Errorf("no vector ends %s", v)
		}
	}

	switch {
	case *update:
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case want != string(raw):
		t.Error("a vector is not what the code does: see what running this test with -update changes")
	}
}

func unquoted(t *testing.T, quoted string) []byte {
	t.Helper()
	var text string
	if _, err := fmt.Sscanf(quoted, "%q", &text); err != nil {
		t.Fatal(err)
	}
	return []byte(text)
}

// runVector runs records in a fresh instance and writes down each step.
func runVector(t *testing.T, m *Module, b *record.Batch, given [][]string) (text string, verdicts []string) {
	t.Helper()
	i, err := m.newInstance(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}

	defer i.free(t.Context())
	i.layout = vectorLayout
	i.clock.startBatch(t.Context(), m.limits, 0)
	defer i.endBatch()
	i.arm(0)
	i.chunk.begin(b, Origin{Topic: "orders", Partition: 3}, 0, m.limits)
	i.chunk.take()

	var out strings.Builder
	for _, g := range given {
		out.WriteString(g[0] + "\n")
	}

	// What the guest is given, in a memory that it does not see.
	blank := make([]byte, 0x20400)
	i.chunk.fill(vectorLayout.input, blank[vectorLayout.input:])
	i.writeFrame(blank[vectorLayout.frame:][:frameSize])
	dump(&out, "frame", vectorLayout.frame, blank[vectorLayout.frame:][:frameSize])
	dump(&out, "in", vectorLayout.inDescs, i.chunk.descs)
	dump(&out, "input", vectorLayout.input, blank[vectorLayout.input:][:i.chunk.bytes])

	count, err := i.callTransform()
	if err != nil {
		t.Fatal(err)
	}

	memory := i.memory()
	fmt.Fprintf(&out, "returns  %d\n", count)
	dump(&out, "out", vectorLayout.outDescs, memory[vectorLayout.outDescs:][:int(count)*descriptorSize])
	dump(&out, "arena", vectorLayout.arena, memory[vectorLayout.arena:][:vectorLayout.arenaCap])

	if err := i.readOutput(uint32(count)); err != nil {
		t.Fatal(err)
	}
	for n := range b.Records {
		r := &b.Records[n]
		verdicts = append(verdicts, r.Verdict.String())
		fmt.Fprintf(&out, "becomes  %s, reason %d", r.Verdict, r.Reason)
		if r.Verdict == record.Routed {
			fmt.Fprintf(&out, ", route %d", r.Route)
		}
		fmt.Fprintf(&out, ", value %q\n", b.Bytes(r.Value))
	}

	return out.String(), verdicts
}

// dump writes a block, 16 bytes a line, without the lines that are zero.
func dump(out *strings.Builder, name string, at uint32, p []byte) {
	for line := range slices.Chunk(p, 16) {
		if slices.Max(line) > 0 {
			fmt.Fprintf(out, "%-8s %05x  % x\n", name, at, line)
			name = ""
		}
		at += 16
	}
}

// The bytes of the reasons section that docs/abi.md shows are those that are read.
func TestDocumentedReasonsSectionIsRead(t *testing.T) {
	raw, err := os.ReadFile("../docs/abi.md")
	if err != nil {
		t.Fatal(err)
	}

	shown := regexp.MustCompile("(?m)^00 15 11 [0-9a-f ]+$").Find(raw)
	section, err := hex.DecodeString(strings.ReplaceAll(string(shown), " ", ""))
	if err != nil || len(section) == 0 {
		t.Fatalf("%q: %v", shown, err)
	}

	m := load(t, newRuntime(t, Config{}), Spec{Wasm: append(asm{}.wasm(), section...)})
	if got := m.info.Reasons; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
}

// A host of the first version has a frame of 64 bytes and takes no edits: what the C
// SDK was told as edits is then a whole value.
func TestGuestWritesWholeValueForHostWithoutEdits(t *testing.T) {
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: testdata(t, "vectors.wasm")})
	i, err := m.newInstance(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}

	defer i.free(t.Context())
	b := newBatch(testRecord{value: []byte("e 4111 of a card!")})
	i.clock.startBatch(t.Context(), m.limits, 0)
	defer i.endBatch()
	i.arm(0)
	i.chunk.begin(b, Origin{}, 0, m.limits)
	i.chunk.take()

	frame, _ := i.mem.Read(i.layout.frame, frameSize)
	input, _ := i.mem.Read(i.layout.input, uint32(i.chunk.bytes))
	i.chunk.fill(i.layout.input, input)
	i.mem.Write(i.layout.inDescs, i.chunk.descs)
	i.writeFrame(frame)
	binary.LittleEndian.PutUint32(frame, 64)
	clear(frame[64:])

	i.stack[0] = uint64(i.layout.frame)
	if err := i.call(i.transform, i.stack[:1]); err != nil {
		t.Fatal(err)
	}
	if flags := i.memory()[i.layout.outDescs]; flags&flagEdits != 0 {
		t.Error("the guest gave edits that nobody asked for")
	}
	if err := i.readOutput(uint32(i.stack[0])); err != nil {
		t.Fatal(err)
	}
	if r := b.Records[0]; r.Verdict != record.Modified || string(b.Bytes(r.Value)) != "e **** of a card" {
		t.Errorf("%s %q", r.Verdict, b.Bytes(r.Value))
	}
}
