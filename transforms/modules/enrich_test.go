package modules_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// Where the arena is too small at first, the call is made once more and comes to the
// same.
func TestEnrichedBatchesGrowTheArena(t *testing.T) {
	g := mustOpen(t, "enrich", example(t, "enrich"))
	recs := make([]input, 1000)
	for i := range recs {
		recs[i] = input{value: fmt.Appendf(nil, `{"client":{"ip":"192.0.2.%d"},"pad":"%s"}`, i%256, strings.Repeat("x", 300))}
	}
	for i, out := range g.run(t, recs...) {
		if out.verdict != record.Modified || !strings.HasSuffix(string(out.value), `,"geo":{"country":"DE","city":"Köln","asn":64496}}`) {
			t.Fatalf("%d: %s (%s) %s", i, out.verdict, out.reason, out.value)
		}
	}
}

// Whatever comes in, what goes out is JSON whose own members are as they came, and in
// which no member that only the table may set is the producer's.
func FuzzEnrich(f *testing.F) {
	for _, seed := range []string{
		`{"client":{"ip":"192.0.2.77"},"card":{"bin":"411111"},"geo":1}`, `{"g\u0065o":1,"client":{"ip":"::1"}}`, `[]`, `{"card":{"bin":550000}}`,
		`{"issuer":{},"a":[{"b":{}}],"client":{"ip":null}}`,
	} {
		f.Add([]byte(seed))
	}

	g := mustOpen(f, "enrich", example(f, "enrich"))
	f.Fuzz(func(t *testing.T, value []byte) {
		out := g.run(t, input{value: slices.Clone(value)})[0]
		var before, after map[string]json.RawMessage
		switch out.verdict {
		case record.Rejected:
			return
		case record.Passed:
			if string(out.value) != string(value) {
				t.Fatalf("%q passed as %q", value, out.value)
			}
		}
		if json.Unmarshal(value, &before) != nil || json.Unmarshal(out.value, &after) != nil {
			t.Fatalf("%q became %q", value, out.value)
		}

		for name, v := range before {
			if ours := name == "geo" || name == "issuer"; !ours && string(v) != string(after[name]) {
				t.Fatalf("%q became %q: member %q", value, out.value, name)
			}
		}
		for name, allowed := range map[string]string{"geo": "country city asn", "issuer": "name country"} {
			var members map[string]any
			if after[name] == nil {
				continue
			}
			if err := json.Unmarshal(after[name], &members); err != nil {
				t.Fatalf("%q became %q", value, out.value)
			}
			for member := range members {
				if !strings.Contains(allowed, member) {
					t.Fatalf("%q became %q", value, out.value)
				}
			}
		}
	})
}

func BenchmarkEnrich(b *testing.B) {
	recs := make([]input, 500)
	for i := range recs {
		recs[i] = input{value: fmt.Appendf(nil, `{"client":{"ip":"192.0.2.%d"},"card":{"bin":"411111"},"amount":%d.50,"at":1773480413589}`, i%256, i)}
	}
	bench(b, "enrich", example(b, "enrich"), recs)
}
