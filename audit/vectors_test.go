package audit_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
)

// The documents that have a vector of each kind, and what comes before the vectors.
const (
	logDocument   = "../docs/log-format.md"
	leafDocument  = "../docs/evidence.md"
	vectorsFollow = "(`go test ./audit -run TestVectors -update`):\n\n```\n"
)

// TestVectorsOfEachKind: both documents have one of each kind as it is written today,
// so that whoever implements a format by its page can tell whether he understood it.
func TestVectorsOfEachKind(t *testing.T) {
	var entries, leaves strings.Builder
	told := make(map[evidence.Name]string)
	for _, value := range []string{"User:ada", "billing", "192.0.2.7", "fingerprint of ada's certificate", "ada", "countries 0b", "trust.yaml: line 3", "12 bytes",
		"topic customers", "within=1m0s pause=1s", "2"} {
		told[audit.VectorName(value)] = value
	}

	for _, v := range audit.Vectors() {
		fmt.Fprintf(&entries, "%d %s: %x\n", v.Kind, v.Called, v.Payload)
		if v.Leaf != nil && v.Kind != 18 {
			b := v.Leaf.Append(nil)
			hash := tlog.RecordHash(b)
			fmt.Fprintf(&leaves, "%d %s:%s\nleaf: %x\nhash: %x\n", v.Kind, v.Called, shownLeaf(v.Leaf, told), b, hash[:])
		}
	}

	for path, vectors := range map[string]string{logDocument: entries.String(), leafDocument: leaves.String()} {
		before, kept, after := vectorsIn(t, path)
		if *update {
			if err := os.WriteFile(path, []byte(before+vectors+after), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if kept != vectors {
			t.Errorf("%s is not up to date; want\n%s", path, vectors)
		}
	}
}

// TestNoKindLacksAVector: one that a log or a leaf may have.
func TestNoKindLacksAVector(t *testing.T) {
	inLog, inLeaves := make(map[int]bool), make(map[int]bool)
	for path, kinds := range map[string]map[int]bool{logDocument: inLog, leafDocument: inLeaves} {
		_, vectors, _ := vectorsIn(t, path)
		for line := range strings.Lines(vectors) {
			var kind int
			if _, err := fmt.Sscanf(line, "%d ", &kind); err == nil {
				kinds[kind] = true
			}
		}
	}

	for kind := range 256 {
		if audit.KnownKind(uint8(kind)) != inLog[kind] {
			t.Errorf("kind %d: known %v, in %s %v", kind, audit.KnownKind(uint8(kind)), logDocument, inLog[kind])
		}
		_, err := evidence.Parse(append([]byte("guardlock leaf v1\n"), byte(kind)))
		if known := !strings.Contains(err.Error(), "unknown kind"); known != inLeaves[kind] {
			t.Errorf("kind %d: a leaf %v, in %s %v", kind, known, leafDocument, inLeaves[kind])
		}
	}
}

// TestVectorsAreReadByTheirPageAlone: what reads a log by the page reads each vector.
func TestVectorsAreReadByTheirPageAlone(t *testing.T) {
	_, vectors, _ := vectorsIn(t, logDocument)
	name := audit.VectorName("User:ada")
	kinds := make(map[int]int)
	for line := range strings.Lines(vectors) {
		about, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		b, err := hex.DecodeString(text)
		var kind int
		if _, scanErr := fmt.Sscanf(about, "%d ", &kind); err != nil || scanErr != nil {
			t.Fatal(about, err, scanErr)
		}

		r := &readByPage{t: t, seq: uint64(kind), batches: map[uint64]*foundBatch{}, kinds: map[int]int{}, controls: kinds, decided: map[string]int{}}
		r.redacts = kind == 18
		r.names = map[uint64][]byte{0: name[:]}
		if kind == 17 {
			continue // of a segment with entries before it, as TestLogIsReadByItsSpecificationAlone reads seals
		}
		r.payload(b, false)
	}
	for kind := 2; kind <= 21; kind++ {
		if control := kind <= 15 || kind >= 20; control && kinds[kind] != 1 {
			t.Errorf("kind %d was found %d times", kind, kinds[kind])
		}
	}
}

// told reads facts that are keys and values.
func (r *readByPage) told(c *bytesOf) {
	for n := c.uvarint(); n > 0; n-- {
		r.facts = append(r.facts, c.string()+" "+c.string())
	}
}

// vectorsIn is a document, cut at its vectors.
func vectorsIn(t *testing.T, path string) (before, vectors, after string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), vectorsFollow)
	vectors, after, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatalf("%s has no place for vectors", path)
	}
	return before + vectorsFollow, vectors, "```\n" + after
}

// shownLeaf tells the fields of a leaf that are not empty.
func shownLeaf(l *evidence.Leaf, told map[evidence.Name]string) string {
	switch {
	case l.Decision != nil:
		return shown(reflect.ValueOf(*l.Decision), told)
	case l.Placement != nil:
		return shown(reflect.ValueOf(*l.Placement), told)
	}
	return shown(reflect.ValueOf(*l.Control), told)
}

// words is where a field's name has another word.
var words = regexp.MustCompile(`([a-z]|MAC|TLS)([A-Z])`)

// shown has a field after the other, with its name, as far as they are not empty. A name
// is shown by its value.
func shown(v reflect.Value, told map[evidence.Name]string) string {
	switch of := v.Interface().(type) {
	case evidence.Name:
		return fmt.Sprintf(" name of %q", told[of])
	case evidence.Fact:
		if of.Name != (evidence.Name{}) {
			return fmt.Sprintf("%s name of %q", of.Key, told[of.Name])
		}
		return fmt.Sprintf("%s %q", of.Key, of.Value)
	}
	switch v.Kind() {
	case reflect.Struct:
		var fields []string
		for f, value := range v.Fields() {
			if value.IsZero() {
				continue
			}
			text := shown(value, told)
			if !f.Anonymous {
				text = " " + strings.ToLower(words.ReplaceAllString(f.Name, "$1 $2")) + text
			}
			fields = append(fields, text)
		}
		return strings.Join(fields, ",")
	case reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, " ("+strings.TrimSpace(shown(v.Index(i), told))+")")
		}
		return strings.Join(items, "")
	case reflect.Array:
		return fmt.Sprintf(" %x", v.Interface())
	case reflect.String:
		return fmt.Sprintf(" %q", v.String())
	}
	return fmt.Sprint(" ", v.Interface())
}
