package config

import (
	"strings"
	"testing"
)

func TestProblemsComeInTheOrderOfTheFileEachTime(t *testing.T) {
	text := "broker: {embedded: {}}\nmodules: [{name: a}, {name: a}]\n"
	want := []string{
		"trust.root: ", "modules[0].wasm: ", "modules[0].signature: ", "modules[0].approvals: ",
		"modules[1].name: ", "modules[1].wasm: ", "modules[1].signature: ", "modules[1].approvals: ",
	}

	for range 20 {
		_, err := Parse([]byte(text), "")
		if err == nil {
			t.Fatal("it is taken")
		}

		lines := strings.Split(err.Error(), "\n")
		for i, w := range want {
			if i >= len(lines) || !strings.Contains(" "+lines[i], " "+w) {
				t.Fatalf("problem %d is not of %s:\n%v", i, w, err)
			}
		}
	}
}

// One round is enough: form, meaning and place of everything at once.
func TestEverythingWrongIsSaidAtOnceWithLineAndColumn(t *testing.T) {
	_, err := Parse([]byte(`node: "no spaces"
listen:
  adress: "127.0.0.1:9092"
broker: {embedded: {}}
limits:
  max_frame: lots
unbound_topics: maybe
modules:
  - name: gdpr
    wasm: [a]
bindings:
  - topic: [t]
`), "")
	if err == nil {
		t.Fatal("it is taken")
	}

	for _, want := range []string{
		`line 1, column 1: node: "no spaces" must be`,
		"line 3, column 3: unknown key adress; did you mean address?",
		"line 6, column 14: found the text `lots`, want a whole number",
		`line 7, column 1: unbound_topics: "maybe" is not one of`,
		"line 9, column 5: modules[0].signature: is needed",
		"line 10, column 5: found a sequence, want a text",
		"line 12, column 5: unknown key topic; did you mean topics?",
		"trust.root: is needed",
	} {
		if !strings.Contains("\n"+err.Error(), "\n"+want) {
			t.Errorf("not said: %s", want)
		}
	}

	if strings.Contains(err.Error(), "modules[0].wasm: is needed") {
		t.Error("what could not be read is said to be missing")
	}
	if t.Failed() {
		t.Log(err)
	}
}
