package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/cases"
	"github.com/guardlock/guardlock/transforms/sdk"
)

// The same records come to the same results in every language, and each reason that a
// module declares is given in one of them.
func TestGoldenCasesHoldInEveryLanguage(t *testing.T) {
	modules, err := filepath.Glob("golden/*.wasm")
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range sdk.Languages() {
		if !slices.Contains(modules, "golden/"+language+".wasm") {
			t.Errorf("there is no module in %s", language)
		}
	}

	golden, err := cases.Parse("golden/mask.yaml", sdk.Golden(), cases.Beside{})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range modules {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".wasm"), func(t *testing.T) {
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := cases.Open(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close(context.Background())

			results := s.RunFile(t.Context(), golden)
			for n, r := range results {
				if diff := golden.Cases[n].Compare(r); len(diff) > 0 {
					t.Errorf("%s: %+v", golden.Cases[n].Name, diff)
				}
			}
			if missing := cases.Unreached(s.Info().Reasons, results); len(missing) > 0 {
				t.Errorf("no case gives %v", missing)
			}
			for _, im := range s.Info().Imports {
				if im.Module != "wasi_snapshot_preview1" || !strings.Contains(path, "go.wasm") {
					t.Errorf("it imports %v", im)
				}
			}
		})
	}
}

func TestAProjectHasSourceSDKAndCasesUnderItsName(t *testing.T) {
	for language, want := range map[string][]string{
		"rust": {".gitignore", "Cargo.toml", "cases/mask.yaml", "guardlock/Cargo.toml", "guardlock/src/lib.rs", "src/lib.rs"},
		"go":   {"cases/mask.yaml", "go.mod", "guardlock/go.mod", "guardlock/record.go", "guardlock/host/host.go", "main.go", "main_test.go"},
		"as": {".gitignore", "asconfig.json", "assembly/index.ts", "cases/mask.yaml", "guardlock/assembly/index.ts", "guardlock/catalogue.js", "guardlock/testing.js",
			"package.json", "package-lock.json", "test/mask.test.js"},
		"c": {"card-mask.c", "cases/mask.yaml", "guardlock.h"},
	} {
		project, err := sdk.Project(language, "card-mask")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range want {
			if len(project[path]) == 0 {
				t.Errorf("%s has no %s", language, path)
			}
		}
		for path, content := range project {
			if strings.Contains(path, "NAME") || !strings.HasPrefix(path, "guardlock") && bytes.Contains(content, []byte(`"NAME"`)) {
				t.Errorf("%s: %s has no name", language, path)
			}
		}
	}

	if _, err := sdk.Project("cobol", "x"); !errors.Is(err, sdk.ErrLanguage) || slices.Contains(sdk.Languages(), "cobol") {
		t.Errorf("got %v", err)
	}
}
