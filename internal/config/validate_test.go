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
			if i >= len(lines) || !strings.HasPrefix(lines[i], w) {
				t.Fatalf("problem %d is not of %s:\n%v", i, w, err)
			}
		}
	}
}
