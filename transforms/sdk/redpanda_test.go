package sdk_test

import (
	"context"
	"os"
	"testing"

	"github.com/guardlock/guardlock/transforms/cases"
	"github.com/guardlock/guardlock/transforms/sdk"
)

// redpandaGolden are the golden cases in the words of Redpanda's ABI. Its reasons are
// not the module's own; it cannot reject a record, so that its error fails the batch;
// and its configuration are variables.
func redpandaGolden(t *testing.T) cases.File {
	t.Helper()
	golden, err := cases.Parse("golden/mask.yaml", sdk.Golden(), cases.Beside{})
	if err != nil {
		t.Fatal(err)
	}

	reasons := map[string]string{cases.Modified: "redpanda.changed", cases.Routed: "redpanda.routed", cases.Dropped: "redpanda.no_output"}
	for n := range golden.Cases {
		c := &golden.Cases[n]
		c.Expect.Reason = reasons[c.Expect.Outcome]
		if c.Expect.Outcome == cases.Rejected {
			c.Expect.Outcome = cases.Failed
			c.Expect.Failure = "trap"
		}

		switch config := string(c.Setup.Config); {
		case config == "":
			c.Setup.Config = []byte(`{"DO": "mask"}`)
		case len(config) == 1:
			c.Setup.Config = []byte(`{"DO": "mask", "KEEP": "` + config + `"}`)
		}
	}

	return golden
}

// The same mask, written with Redpanda's SDKs, does with the same records what the
// modules of our own SDKs do.
func TestGoldenCasesHoldForModulesOfRedpandasSDKs(t *testing.T) {
	golden := redpandaGolden(t)
	for _, language := range []string{"go", "rust"} {
		t.Run(language, func(t *testing.T) {
			file, err := os.ReadFile("../testdata/redpanda/" + language + ".wasm")
			if err != nil {
				t.Fatal(err)
			}
			s, err := cases.Open(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close(context.Background())

			for n, r := range s.RunFile(t.Context(), golden) {
				if diff := golden.Cases[n].Compare(r); len(diff) > 0 {
					t.Errorf("%s: %+v", golden.Cases[n].Name, diff)
				}
			}
		})
	}
}
