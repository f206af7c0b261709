package transforms

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestPayloadsAreKafkasRecordsFromTheKeyOn(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 70)
	for want, p := range map[string]payload{
		"\x01\x01\x00":                         {nil, nil, nil},
		"\x00\x00\x00":                         {[]byte{}, []byte{}, []byte{0}},
		"\x02k\x04vv\x02\x02h\x01":             {[]byte("k"), []byte("vv"), []byte("\x02\x02h\x01")},
		"\x8c\x01" + string(long) + "\x01\x00": {long, nil, []byte{0}},
	} {
		got := p.append(nil)
		if string(got) != want || p.size() != len(want) {
			t.Errorf("%q in %d bytes, want %q", got, p.size(), want)
		}
		if back, ok := parsePayload(got); !ok || !bytes.Equal(back.append(nil), got) {
			t.Errorf("%q was read as %+v, %v", want, back, ok)
		}
	}
}

// Whatever a guest writes, it is refused or is a record that reads as it was written,
// whose fields lie in what was written.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{"", "\x01\x01\x00", "\x02k\x04vv\x02\x02h\x01", "\x7e", "\x80\x80\x80\x80\x10", "\x03", "\x00\x00\x02", "\xff\xff\xff\xff\x0f", "\x80\x00\x01\x00"} {
		f.Add([]byte(seed))
	}

	f.Fuzz(func(t *testing.T, p []byte) {
		record, ok := parsePayload(p)
		if !ok {
			return
		}
		if len(record.key)+len(record.value)+len(record.headers) > len(p) || !validHeaders(record.headers) {
			t.Fatalf("%q is %+v", p, record)
		}

		written := record.append(nil)
		again, ok := parsePayload(written)
		if !ok || len(written) != record.size() || len(written) > len(p) {
			t.Fatalf("%q is written as %q", p, written)
		}
		if !bytes.Equal(again.key, record.key) || (again.key == nil) != (record.key == nil) || (again.value == nil) != (record.value == nil) ||
			!bytes.Equal(again.value, record.value) || !bytes.Equal(again.headers, record.headers) {
			t.Fatalf("%+v is read as %+v", record, again)
		}
	})
}

func FuzzWriteOptions(f *testing.F) {
	for _, seed := range []string{"", "\x01\x0aother", "\x01", "\x01\x00", "\x01\x01", "\x02\x02a", "\x01\x02ab", "\x01\x80\x80\x80\x80\x10"} {
		f.Add([]byte(seed))
	}

	f.Fuzz(func(t *testing.T, p []byte) {
		topic, ok := parseWriteOptions(p)
		if !ok {
			return
		}
		if (len(p) == 0) != (topic == nil) || len(p) > 0 && (len(topic) == 0 || !bytes.HasSuffix(p, topic)) {
			t.Fatalf("%q goes to %q", p, topic)
		}
	})
}

func TestConfigurationsAreVariables(t *testing.T) {
	for config, want := range map[string]string{
		"":                           "",
		" \n":                        "",
		"{}":                         "",
		`{"B": "2", "A": "1 = one"}`: "A=1 = one,B=2",
		`{"A": ""}`:                  "A=",
	} {
		got, err := parseVariables([]byte(config))
		if err != nil || strings.Join(got, ",") != want {
			t.Errorf("%q: %q, %v", config, got, err)
		}
	}

	many := map[string]string{}
	for n := range maxVariables + 1 {
		many[fmt.Sprint("V", n)] = ""
	}
	tooMany, _ := json.Marshal(many)
	for config, want := range map[string]string{
		`[]`:                            "JSON object",
		`"A"`:                           "JSON object",
		`{"A": "1"`:                     "JSON object",
		`{"A": "1"} 2`:                  "JSON object",
		`{"A": "1"} {}`:                 "JSON object",
		`{"A"}`:                         "JSON object",
		`{"A": 4}`:                      `"A" is not a text`,
		`{"A": null}`:                   `"A" is not a text`,
		`{"A": {}}`:                     `"A" is not a text`,
		`{"A":"1","A":"1"}`:             `"A" is there twice`,
		`{"": "1"}`:                     "not of the form",
		`{"A=B": "1"}`:                  "not of the form",
		`{"A": "\u0000"}`:               "not of the form",
		`{"REDPANDA_INPUT_TOPIC": "x"}`: "not for a configuration",
		`{"` + strings.Repeat("A", 129) + `": ""}`:   "exceeds the limit",
		`{"A": "` + strings.Repeat("A", 2049) + `"}`: "exceeds the limit",
		string(tooMany): "129 variables exceed",
	} {
		if got, err := parseVariables([]byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %q, %v, want %q", config, got, err, want)
		}
	}
}

// Whatever a configuration is, it sets no variable that tells of topics, and none
// twice.
func FuzzVariables(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"A":"1"}`, `{"A":1}`, `[{}]`, `{"A":"1","A":"2"}`, `{"REDPANDA_X":""}`} {
		f.Add([]byte(seed))
	}

	f.Fuzz(func(t *testing.T, config []byte) {
		all, err := parseVariables(config)
		if err != nil {
			return
		}

		var names []string
		for _, v := range all {
			name, _, ok := strings.Cut(v, "=")
			if !ok || name == "" || strings.HasPrefix(name, ownVariables) || strings.Contains(v, "\x00") {
				t.Fatalf("%q sets %q", config, v)
			}
			names = append(names, name)
		}
		slices.Sort(names)
		if len(slices.Compact(names)) != len(all) {
			t.Fatalf("%q sets %q", config, all)
		}
	})
}

// The scan knows a module of Redpanda's ABI by its imports, and what it must have.
func TestTheScanKnowsRedpandasABI(t *testing.T) {
	module := func(imports [][]byte, exports [][]byte, more ...[]byte) []byte {
		types := vec(funcType0(0, 0), funcType0(1, 1), funcType0(2, 1))
		return cat(asmMagic, sec(secType, types), sec(secImport, vec(imports...)), sec(secFunction, vec(u32(0), u32(1), u32(2))),
			sec(secMemory, []byte{1, 0, 1}), sec(secExport, vec(exports...)), sec(secCode, vec(function(0, nil), function(0, i32c(0)), function(0, i32c(0)))), cat(more...))
	}
	marker := func(v string) []byte { return importFunc("redpanda_transform", "check_abi_version_"+v, 0) }
	writes := importFunc("redpanda_transform", "write_record", 2)
	main := func(n uint32) [][]byte { return [][]byte{exportEntry("memory", 2, 0), exportEntry("_start", 0, n)} }

	for name, c := range map[string]struct {
		file      []byte
		abi, want string
	}{
		"version 1":          {module([][]byte{marker("1")}, main(1)), "redpanda_transform_v1", ""},
		"version 2":          {module([][]byte{marker("2"), writes}, main(2)), "redpanda_transform_v2", ""},
		"both":               {module([][]byte{marker("2"), marker("1")}, main(2)), "redpanda_transform_v2", ""},
		"a later version":    {module([][]byte{marker("3")}, main(1)), "", `version "3" of Redpanda's ABI`},
		"no version":         {module([][]byte{marker("")}, main(1)), "", `version "" of Redpanda's ABI`},
		"no marker":          {module([][]byte{writes}, main(1)), "", "none of the functions check_abi_version_1 and check_abi_version_2"},
		"no main":            {module([][]byte{marker("1")}, main(1)[:1]), "", `"_start" of Redpanda's ABI is missing`},
		"no memory":          {module([][]byte{marker("1")}, main(1)[1:]), "", `"memory" of Redpanda's ABI is missing`},
		"main of a function": {module([][]byte{marker("1")}, main(2)), "", `"_start" must be a func()->()`},
		"two ABIs":           {module([][]byte{marker("1")}, append(main(1), exportEntry("guardlock_transform_v1", 0, 2))), "", "of two ABIs"},
		"reasons of its own": {module([][]byte{marker("1")}, main(1), custom(reasonSection, []byte("a.b\n"))), "", "has the reasons of that"},
	} {
		info, err := Inspect(c.file, ScanLimits{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || info.ABI != c.abi {
			t.Errorf("%s: %q, %v", name, info.ABI, err)
		}
		if err == nil && (!info.Pulls() || len(info.Reasons) != 5) {
			t.Errorf("%s: %+v", name, info.Reasons)
		}
	}

	// A marker of another type is one that no grant can hold.
	other := module([][]byte{importFunc("redpanda_transform", "check_abi_version_1", 1)}, main(1))
	info, err := Inspect(other, ScanLimits{})
	if err == nil {
		err = CheckImports(info)
	}
	if err == nil || !strings.Contains(err.Error(), "is declared as (i32)->i32, but is ()->()") {
		t.Error(err)
	}
}

// There is no registry, and the SDKs are told so in their own way.
func TestTheSchemaRegistryIsNotEnabled(t *testing.T) {
	for _, f := range redpandaFunctions() {
		if f.module != "redpanda_schema_registry" {
			continue
		}
		want := int32(-1)
		if f.results == "" {
			want = 0
		}
		if got := f.call(nil, make([]uint64, maxHostParams)); got != want {
			t.Errorf("%s answers %d", f.name, got)
		}
	}
}
