package config

import (
	"strings"
	"testing"
	"time"
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

// The bounds of modules that keep failing are checked as a whole: a pause that is
// longer than the longest would never double.
func TestSuspensionsHaveDefaultsAndBounds(t *testing.T) {
	const rest = "broker: {embedded: {}}\nlimits: "
	c, err := Parse([]byte(rest+"{suspend: {pause: 2m}}\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Limits.Suspend, (Suspend{Failures: 5, Window: time.Minute, Pause: 2 * time.Minute, LongestPause: 2 * time.Minute}); got != want || c.Limits.ReasonsPerHour != 64 {
		t.Errorf("the defaults are %+v, and %d reasons", got, c.Limits.ReasonsPerHour)
	}

	_, err = Parse([]byte(rest+"{reasons_per_hour: -1, max_connection_age: 10ms, suspend: {failures: 101, window: 1ms, pause: 2h, longest_pause: 90m}}\n"), "")
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, name := range []string{"reasons_per_hour", "max_connection_age", "suspend.failures", "suspend.window", "suspend.pause", "suspend.longest_pause"} {
		if !strings.Contains(err.Error(), "limits."+name+":") {
			t.Errorf("nothing is said of %s:\n%v", name, err)
		}
	}
}

// The node's name comes from the environment where the configuration says so, and
// from nowhere else then.
func TestNodeIsNamedByTheEnvironment(t *testing.T) {
	const rest = "\nbroker: {upstream: {bootstrap: [\"kafka:9092\"]}}\n"
	t.Setenv("POD_NAME", "guardlock-1")
	c, err := Parse([]byte("node_variable: POD_NAME"+rest), "guardlock.yaml")
	if err != nil || c.Node != "guardlock-1" {
		t.Fatalf("%+v, %v", c, err)
	}

	t.Setenv("EMPTY", "")
	t.Setenv("BAD", "a/b")
	for text, want := range map[string]string{
		"node_variable: POD_NAME\nnode: b": "node is set, too",
		"node_variable: EMPTY":             "the environment has no EMPTY",
		"node_variable: BAD":               `"a/b" must be 1 to 32`,
	} {
		if _, err := Parse([]byte(text+rest), "guardlock.yaml"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
