package modules_test

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// The verdicts of JSONTestSuite hold: what other readers of JSON must refuse is
// rejected, and what they must accept is not. Of what may be either, the reference
// decides, as for any value.
func TestGDPRAgreesWithJSONTestSuite(t *testing.T) {
	file, err := os.ReadFile("testdata/jsontestsuite.txt")
	if err != nil {
		t.Fatal(err)
	}

	suite := map[string][]byte{
		"n_structure_100000_opening_arrays": []byte(strings.Repeat("[", 100_000)),
		"n_structure_open_array_object":     []byte(strings.Repeat(`[{"":`, 50_000) + "\n"),
	}
	for line := range strings.Lines(string(file)) {
		name, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if name == "#" {
			continue
		}
		value, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		suite[name] = value
	}

	if len(suite) < 300 {
		t.Fatalf("%d texts", len(suite))
	}

	rules := parseRules(fuzzConfig)
	for _, g := range bothGDPR(t) {
		for name, value := range suite {
			rejected := g.run(t, input{value: value})[0].verdict == record.Rejected
			// The strict one also refuses an array where its paths need an object.
			if name[0] == 'y' && g.lax && rejected || name[0] == 'n' && !rejected {
				t.Errorf("%s: rejected is %v: %q", name, rejected, value)
			}
			checkGDPR(t, g, rules, value)
		}
	}
}
