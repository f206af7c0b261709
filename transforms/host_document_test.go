package transforms

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/guardlock/guardlock/internal/pattern"
)

var update = flag.Bool("update", false, "write the table of docs/host-functions.md again from the code")

// hostTexts say of each host function what it takes and what its result is.
var hostTexts = map[string][2]string{
	"guardlock_compress.gunzip":     {"ptr, len, out, out_cap", "the length at `out`: what is in gzip members"},
	"guardlock_compress.gzip":       {"ptr, len, out, out_cap", "the length at `out`: a gzip member"},
	"guardlock_compress.lz4":        {"ptr, len, out, out_cap", "the length at `out`: an lz4 frame"},
	"guardlock_compress.snappy":     {"ptr, len, out, out_cap", "the length at `out`: a raw snappy block"},
	"guardlock_compress.unlz4":      {"ptr, len, out, out_cap", "the length at `out`: what is in lz4 frames"},
	"guardlock_compress.unsnappy":   {"ptr, len, out, out_cap", "the length at `out`: what is in a raw snappy block"},
	"guardlock_compress.unzstd":     {"ptr, len, out, out_cap", "the length at `out`: what is in zstd frames"},
	"guardlock_compress.zstd":       {"ptr, len, out, out_cap", "the length at `out`: a zstd frame"},
	"guardlock_crypto.aes_gcm_open": {"key, ptr, len, purpose, purpose_len, out, out_cap", "the length at `out`: what is in the [envelope](envelope.md)"},
	"guardlock_crypto.aes_gcm_seal": {"key, ptr, len, purpose, purpose_len, out, out_cap", "`len` + 53; an [envelope](envelope.md) at `out`"},
	"guardlock_crypto.ff1_decrypt":  {"key, ptr, len, radix, purpose, purpose_len, tweak, tweak_len, out", "`len`; the plaintext at `out`"},
	"guardlock_crypto.ff1_encrypt":  {"key, ptr, len, radix, purpose, purpose_len, tweak, tweak_len, out", "`len`; the ciphertext at `out`"},
	"guardlock_crypto.hmac_sha256":  {"key, ptr, len, out", "32; HMAC-SHA256 under the key's secret at `out`"},
	"guardlock_crypto.sha256":       {"ptr, len, out", "32; the digest at `out`"},
	"guardlock_crypto.tokenise":     {"key, ptr, len, purpose, purpose_len, out, out_cap", "30; the token at `out`"},
	"guardlock_json.find":           {"ptr, len, path, path_len, out, out_cap", "how many values the [path](#json) leads to; offset and length of each at `out`"},
	"guardlock_json.replace":        {"ptr, len, path, path_len, new, new_len, out, out_cap", "how many [edits](abi.md#edits) put `new` for them; the list at `out`"},
	"guardlock_log.log":             {"level, reason", "none; level 0 debug, 1 info, 2 warning, 3 error"},
	"guardlock_lookup.find":         {"table, table_len, key, key_len, columns, columns_len, out, out_cap", "the length at `out`: the values of the row's columns; -8 without a row"},
	"guardlock_metric.add":          {"metric, amount", "none; a metric of the module's catalogue counts up"},
	"guardlock_state.count":         {"record, ptr, len, window_ms", "how often the key came in the window that ends with the record, which counts too"},
	"guardlock_state.seen":          {"record, ptr, len", "how many milliseconds after the last record of the key this one is; -8 for the first"},
	"guardlock_state.since":         {"record", "for how many milliseconds before the record the counts are complete"},
}

// hostClasses are the classes of data of the default policy, the strictest last, each
// with the patterns of what may be called there.
func hostClasses(t *testing.T) (names []string, allowed map[string][]string) {
	t.Helper()
	raw, err := os.ReadFile("../policy/default/data.yaml")
	if err != nil {
		t.Fatal(err)
	}

	var data struct {
		Config struct {
			Classes map[string]struct {
				Rank      int      `yaml:"rank"`
				Functions []string `yaml:"host_functions"`
			} `yaml:"data_classes"`
		}
	}
	if err := yaml.Unmarshal(raw, &data); err != nil {
		t.Fatal(err)
	}

	names = make([]string, len(data.Config.Classes))
	allowed = map[string][]string{}
	for name, class := range data.Config.Classes {
		names[class.Rank] = name
		allowed[name] = class.Functions
	}

	return names, allowed
}

// hostTable is the table of our own host functions. WASI's and Redpanda's are
// specifications of their own.
func hostTable(t *testing.T) string {
	t.Helper()
	classes, allowed := hostClasses(t)
	var b strings.Builder
	fmt.Fprintf(&b, "| import | result | %s |\n|---|---|%s\n", strings.Join(classes, " | "), strings.Repeat("---|", len(classes)))

	for _, f := range hostFunctions() {
		if !strings.HasPrefix(f.module, "guardlock_") {
			continue
		}

		name := f.module + "." + f.name
		text, ok := hostTexts[name]
		if !ok || len(strings.Split(text[0], ", ")) != len(f.params) || strings.Trim(f.params+f.results, "i") != "" {
			t.Errorf("%s of type %s is described as %q", name, f.signature(), text)
		}

		fmt.Fprintf(&b, "| `%s(%s)` | %s |", name, text[0], text[1])
		for _, class := range classes {
			mark := "no"
			if pattern.Covered(allowed[class], name) {
				mark = "yes"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteByte('\n')
	}

	return b.String()
}

func TestHostFunctionsAreDocumentedAsTheyAre(t *testing.T) {
	const file = "../docs/host-functions.md"
	const begin = "| import | result |" // of the table, which ends with an empty line
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	head, rest, ok1 := strings.Cut(string(raw), begin)
	_, tail, ok2 := strings.Cut(rest, "\n\n")
	if !ok1 || !ok2 {
		t.Fatal("the table is gone")
	}

	want := head + hostTable(t) + "\n" + tail
	switch {
	case *update:
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	case want != string(raw):
		t.Error("the table is not that of the code: run this test with -update")
	}
}

func TestTextsAreOfHostFunctionsThatThereAre(t *testing.T) {
	for name := range hostTexts {
		if !KnownHostFunction(name) {
			t.Errorf("%s is no host function", name)
		}
	}
}
