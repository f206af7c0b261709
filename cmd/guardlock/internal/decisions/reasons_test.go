package decisions

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/reasons.md again from the catalogue")

const (
	checkout = "../../../../"
	document = checkout + "docs/reasons.md"
)

// A producer who looks a reason up must find it: each of the gateway's own, and
// each that a bundled module can give.
func TestEveryReasonIsExplained(t *testing.T) {
	files, err := filepath.Glob(checkout + "transforms/modules/*/*.wasm")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d modules: %v", len(files), err)
	}

	given := map[string]bool{}
	section := regexp.MustCompile(`guardlock\.reasons((?:[a-z_]+\.[a-z0-9_]+\n?)+)`)
	for _, file := range files {
		lists := map[string]bool{}
		collect(t, file, section, lists)
		for list := range lists {
			for _, reason := range strings.Split(list, "\n") {
				given[reason] = true
			}
		}
	}

	collect(t, checkout+"gateway/pipeline/errors.go", regexp.MustCompile(`refusal\{audit\.\w+, "([a-z_]+)"`), given)
	collect(t, checkout+"gateway/pipeline/hourly.go", regexp.MustCompile(`reasonLimit = "([a-z_]+)"`), given)
	collect(t, checkout+"gateway/pipeline/grant.go", regexp.MustCompile(`Why: "([a-z_]+)"`), given)
	collect(t, checkout+"internal/server/stale.go", regexp.MustCompile(`staleCode = "([a-z_]+)"`), given)
	inAdmission := regexp.MustCompile(`(?:refuse\(e\.module, audit\.\w+, |\{signing\.\w+, |StructureCode = |return |code := )"([a-z]+_?[a-z_]+)"`)
	for _, file := range []string{"admission.go", "examine.go", "judge.go"} {
		collect(t, checkout+"gateway/admission/"+file, inAdmission, given)
	}

	collect(t, checkout+"transforms/wasm/abi.go", regexp.MustCompile(`"(redpanda\.[a-z_]+)"`), given)

	names, err := os.ReadFile(checkout + "transforms/errors.go")
	if err != nil {
		t.Fatal(err)
	}

	_, list, _ := strings.Cut(string(names), "var kindNames = ")
	list, _, _ = strings.Cut(list, "\n")
	for _, m := range regexp.MustCompile(`"([a-z_]+)"`).FindAllStringSubmatch(list, -1) {
		if m[1] != "closed" { // told as module_closed
			given[m[1]] = true
		}
	}

	if len(given) < 85 {
		t.Errorf("found only %d reasons", len(given))
	}

	for reason := range given {
		if reasons[reason] == "" {
			t.Errorf("%s is not explained", reason)
		}
	}

	for reason := range reasons {
		if !given[reason] {
			t.Errorf("%s is explained, but nothing gives it", reason)
		}
	}
}

func collect(t *testing.T, file string, pattern *regexp.Regexp, into map[string]bool) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	for _, m := range pattern.FindAllStringSubmatch(string(raw), -1) {
		into[m[1]] = true
	}
}

func TestReasonsDocumentIsCurrent(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Reasons

<!-- Made from cmd/guardlock/internal/decisions/reasons.go by: go test ./cmd/guardlock/internal/decisions -update -->

Why a record was refused or changed. ` + "`guardlock why`" + ` shows these sentences for a decision. A reason with a dot is a module's, others
are the gateway's. Modules that do not come with Guardlock, and policies, have reasons of their own.

| reason | means |
|---|---|
`)

	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", reason, reasons[reason])
	}

	if *update {
		if err := os.WriteFile(document, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(raw) != b.String() {
		t.Error("docs/reasons.md is older than the catalogue: go test ./cmd/guardlock/internal/decisions -update")
	}
}
