package modules_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/modules"
	"github.com/guardlock/guardlock/transforms/record"
)

// oneRecord is a batch of one record with this value.
func oneRecord(value string) *record.Batch {
	whole := record.Span{Len: int32(len(value) + 1)}
	return &record.Batch{
		Data: append([]byte(value), 0), // no headers
		Records: []record.Record{{
			Key:     record.Null,
			Value:   record.Span{Len: int32(len(value))},
			Headers: record.Span{Off: uint32(len(value)), Len: 1},
			Whole:   whole,
		}},
	}
}

// Large records full of personal data go through under the limits that every
// module has, on an instance that has done nothing before.
func TestLargeRecordsOfManyFieldsAreHashed(t *testing.T) {
	file, _ := modules.Wasm("gdpr")
	field := `{"iban":"DE893704"},`
	for name, fields := range map[string]int{"500 KB": 25_000, "5 MB": 250_000} {
		t.Run(name, func(t *testing.T) {
			m, err := newRuntime(t).Load(t.Context(), transforms.Spec{
				Name:   "gdpr",
				Wasm:   file,
				Config: []byte(`{"rules":[{"path":"$..iban","action":"hash"}]}`),
				Grant: transforms.Grant{
					HostFunctions: grants["gdpr"],
					Keys:          []transforms.Key{{Name: "key", Secret: testKeys[0]}},
				},
			})
			if err != nil {
				t.Fatal(err)
			}

			batch := oneRecord("[" + strings.Repeat(field, fields-1) + strings.TrimSuffix(field, ",") + "]")
			if err := transforms.NewChain(m).Run(t.Context(), batch, transforms.Origin{}); err != nil {
				t.Fatal(err)
			}

			r := &batch.Records[0]
			if want := fields * (len(field) + 64 - len("DE893704")); r.Verdict != record.Modified || int(r.Value.Len) < want {
				t.Errorf("the record is %s and has %d bytes, want %d", r.Verdict, r.Value.Len, want)
			}
		})
	}
}

// A text of 10 MB is searched, masked and quoted under the limits that every module has.
func TestLargeTextsAreChanged(t *testing.T) {
	file, _ := modules.Wasm("gdpr")
	text := strings.Repeat(`write to "alice@example.com"`+"\n", (10<<20)/29)
	quoted, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		t.Fatal(err)
	}

	for name, c := range map[string]struct{ config, value string }{
		"find in JSON": {`{"rules":[{"path":"$.text","action":"find"}]}`, string(quoted)},
		"mask in JSON": {`{"rules":[{"path":"$.text","action":"mask","as":"phone"}]}`, string(quoted)},
		"find in text": {`{"format":"text","rules":[{"in":"value","action":"find"}]}`, text},
		"find in CSV":  {`{"format":"csv","columns":["text"],"rules":[{"column":"text","action":"find"}]}`, `"` + strings.ReplaceAll(text, `"`, `""`) + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := newRuntime(t).Load(t.Context(), transforms.Spec{
				Name:   "gdpr",
				Wasm:   file,
				Config: []byte(c.config),
				Grant:  transforms.Grant{HostFunctions: grants["gdpr"]},
			})
			if err != nil {
				t.Fatal(err)
			}

			batch := oneRecord(c.value)
			if err := transforms.NewChain(m).Run(t.Context(), batch, transforms.Origin{}); err != nil {
				t.Fatal(err)
			}

			r := &batch.Records[0]
			if r.Verdict != record.Modified || strings.Contains(string(batch.Bytes(r.Value)), "alice") {
				t.Errorf("the record is %s and has %d bytes", r.Verdict, r.Value.Len)
			}
		})
	}
}
