package replay

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms"
)

const fraudConfig = `{"threshold": 80, "route_threshold": 60, "header": "verdict", "rules": [
	{"path": "$.amount", "op": "gt", "value": 100, "weight": 90, "reason": "fraud.amount"},
	{"path": "$.country", "op": "in", "value": ["KP"], "weight": 70, "reason": "fraud.country"}]}`

const fraudInput = `{"value":"{\"amount\":1}","timestamp":"2030-01-31T12:00:00Z"}
{"value":"{\"amount\":1,\"country\":\"KP\"}","timestamp":"2030-01-31T12:00:01Z"}
`

var auditKey = [32]byte{5}

// gateway makes a decision as a gateway does, and gives what its log holds of it.
func gateway(t *testing.T, module, config, input string, codec recordbatch.Compression, how way) (*Decision, *Materials) {
	t.Helper()
	dir := t.TempDir()
	m := &Materials{Objects: objects.Of(dir), Audit: [][32]byte{{1}, auditKey}}
	file, err := os.ReadFile(filepath.Join("..", "..", "transforms", "modules", module, module+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := m.Objects.Keep(file)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := m.Objects.Keep([]byte(config))
	if err != nil {
		t.Fatal(err)
	}

	info, err := transforms.Inspect(file, transforms.ScanLimits{})
	if err != nil {
		t.Fatal(err)
	}
	var functions []string
	for _, im := range info.Imports {
		functions = append(functions, im.Module+"."+im.Name)
	}
	ref := audit.ModuleRef{Name: module, Digest: wasm}
	admitted := &audit.ControlEntry{Kind: audit.KindAdmission, Module: ref, Admission: &audit.Admission{
		Config: kept,
		Grant:  audit.Grant{Functions: functions, Routes: []string{"review"}, Topics: []string{"payments"}},
	}}

	in, err := ParseInput([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	e := batchEntry(len(in.records), codec)
	e.Cluster = "main"
	e.Topic = "payments"
	e.Modules = []audit.ModuleRef{ref}
	d := &Decision{Entry: e, Index: -1, Admissions: []*audit.ControlEntry{admitted}, Bindings: []objects.Binding{{Name: "other", Recompress: "gzip"}, how.binding}}
	chain, err := m.chain(d)
	if err != nil {
		t.Fatal(err)
	}
	c := comparison{d: d, in: in, materials: m, chain: chain}
	got, err := c.decide(t.Context(), how)
	if err != nil {
		t.Fatal(err)
	}

	logged(t, d, got)
	return d, m
}

// logged puts what was decided into a log, and reads it back.
func logged(t *testing.T, d *Decision, got *made) {
	t.Helper()
	dir := t.TempDir()
	l, err := audit.Open(dir, audit.Options{Key: auditKey, InsecureNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	ticket := l.Append(&got.entry, pipeline.EvidenceOf(got.output, got.entry.Evidence))
	if err := ticket.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	r, err := audit.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.At(ticket.Seq(), func(it *audit.Item) {
		d.Entry = it.Batch.Clone()
		d.Entry.Rulings = slices.Clone(it.Batch.Rulings)
		d.Entry.Runs = slices.Clone(it.Batch.Runs)
		d.MAC = it.MAC()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// rerun makes a decision again, and checks what comes of it.
func rerun(t *testing.T, d *Decision, m *Materials, input string, want State, says string) {
	t.Helper()
	in, err := ParseInput([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), d, in, m)
	if err != nil {
		t.Fatal(err)
	}

	said := false
	for _, f := range r.Findings {
		said = said || strings.Contains(f.What+": "+f.Text, says)
	}
	if r.State != want || !said {
		t.Errorf("it is %s, want %s and %q:\n%+v", r.State, want, says, r.Findings)
	}
}

// What the log does not say, of the topic, the binding and the transaction, is found by
// what comes out.
func TestWhatTheLogDoesNotSayIsFoundByTheMAC(t *testing.T) {
	for name, how := range map[string]way{
		"as it came":    {binding: objects.Binding{Name: "b", Recompress: "same"}},
		"compressed":    {binding: objects.Binding{Name: "b", Recompress: "zstd"}},
		"compacting":    {binding: objects.Binding{Name: "b", Recompress: "same"}, compacts: true},
		"transactional": {binding: objects.Binding{Name: "b", Recompress: "none"}, transactional: true},
	} {
		t.Run(name, func(t *testing.T) {
			module, config, input := "fraud", fraudConfig, fraudInput
			if how.transactional { // no record of one can be routed
				module, config = "uppercase", ""
			}
			d, m := gateway(t, module, config, input, recordbatch.None, how)
			rerun(t, d, m, input, Same, "output: ")
			rerun(t, d, m, strings.Replace(input, ":1}", ":2}", 1), Differs, "output: ")
		})
	}
}

func TestARoutedRecordIsComparedAlone(t *testing.T) {
	d, m := gateway(t, "fraud", fraudConfig, fraudInput, recordbatch.None, way{binding: objects.Binding{Name: "b"}})
	routed := fraudInput[strings.Index(fraudInput, "\n")+1:]
	d.Index = 1
	rerun(t, d, m, routed, Same, "route: review")
	rerun(t, d, m, `{"value":"{\"amount\":1000}"}`, Differs, "outcome: the log says routed by fraud, the replay rejected")
	d.Index = 0
	rerun(t, d, m, routed, Differs, "outcome: the log says ")
}

// The bytes of a compressed batch tell all; records do not tell how it was compressed.
func TestACompressedBatchIsComparedByItsOwnBytes(t *testing.T) {
	d, m := gateway(t, "fraud", fraudConfig, fraudInput, recordbatch.Gzip, way{binding: objects.Binding{Name: "b", Recompress: "same"}})
	in, err := ParseInput([]byte(fraudInput))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := in.batch(d.Entry, false)
	if err != nil {
		t.Fatal(err)
	}

	rerun(t, d, m, string(raw), Same, "output: ")
	rerun(t, d, m, strings.Replace(fraudInput, ":1}", ":2}", 1), Unknown, "give that instead of records")
	raw[len(raw)-1] ^= 1
	rerun(t, d, m, string(raw), Differs, "outcome: the log says modified, the replay invalid")
}

func TestWhatCannotBeComparedSaysWhy(t *testing.T) {
	d, m := gateway(t, "fraud", fraudConfig, fraudInput, recordbatch.None, way{binding: objects.Binding{Name: "b"}})
	m.Audit = nil
	rerun(t, d, m, fraudInput, Unknown, "output: its MAC is under the audit key, which was not given")
	d.MAC = audit.MACID{}
	rerun(t, d, m, fraudInput, Unknown, "output: the log has no MAC of it")

	d.Entry.Reason = "module_suspended"
	rerun(t, d, m, fraudInput, Unknown, "what the gateway met with at that moment")
	d.Entry.Outcome = audit.OutcomePolicyDenied
	rerun(t, d, m, fraudInput, Unknown, "no module judged the batch")
}
