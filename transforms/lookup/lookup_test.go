package lookup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the tables of the bundled modules' tests anew")

// sample is of addresses that are for documentation alone (RFC 5737, RFC 3849).
func sample(tb testing.TB) []byte {
	place := func(country, city string, asn uint32, name string) map[string]any {
		return map[string]any{
			"country":                  map[string]any{"iso_code": country, "names": map[string]any{"en": country + " in English"}, "is_in_european_union": country != "CH"},
			"city":                     map[string]any{"names": map[string]any{"en": city, "de": city + " auf Deutsch"}},
			"subdivisions":             []any{map[string]any{"iso_code": "A"}, map[string]any{"iso_code": "B"}},
			"autonomous_system_number": asn, "autonomous_system_organization": name,
		}
	}
	const built = 1_767_225_600 // 2026-01-01
	return buildMMDB(tb, built, map[string]any{
		"192.0.2.0/24":    place("DE", "Köln", 64496, "Example GmbH"),
		"198.51.100.0/25": place("CH", "Chur", 64497, "Example AG"),
		"203.0.113.0/24":  map[string]any{"country": map[string]any{"iso_code": "FR"}},
		"2001:db8::/32":   place("NL", "Delft", 4_200_000_000, "Example BV"),
	})
}

// The modules' tests read a file that this test makes.
func TestSampleOfTheModulesIsAsItIsMade(t *testing.T) {
	const file = "../modules/enrich/tables/places.mmdb"
	if *update {
		if err := os.WriteFile(file, sample(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := os.ReadFile(file); err != nil || !bytes.Equal(raw, sample(t)) {
		t.Errorf("%s is another one (%v): run this test with -update", file, err)
	}
}

const bins = "\xef\xbb\xbfbin,bank,country\r\n411111,\"First, Bank\",DE\r\n550000,Second,\r\n"

// declare is a declaration of one file.
func declare(format string, raw []byte) Declaration {
	return Declaration{Format: format, Files: []File{{SHA256: fmt.Sprintf("%x", NewContent(raw).digest)}}}
}

func open(tb testing.TB, format string, raw []byte) *Table {
	tb.Helper()
	table, err := Open(NewContent(raw), declare(format, raw))
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

// values reads what Append appends; - stands for null.
func values(tb testing.TB, p []byte) string {
	tb.Helper()
	var all []string
	for len(p) > 0 {
		n := binary.LittleEndian.Uint32(p)
		p = p[4:]
		if n == Null {
			all = append(all, "-")
			continue
		}
		all = append(all, string(p[:n]))
		p = p[n:]
	}
	return strings.Join(all, "|")
}

func TestRowsAreFound(t *testing.T) {
	for rule, c := range map[string]struct {
		table        *Table
		key, columns string
		want         string
		err          error
	}{
		"CSV":          {open(t, "csv", []byte(bins)), "411111", "bank\ncountry", "First, Bank|DE", nil},
		"Empty":        {open(t, "csv", []byte(bins)), "550000", "country\nbin", "|550000", nil},
		"NoColumns":    {open(t, "csv", []byte(bins)), "550000", "", "", nil},
		"NoRow":        {open(t, "csv", []byte(bins)), "4111110", "bank", "", ErrNotFound},
		"Header":       {open(t, "csv", []byte(bins)), "bin", "bank", "", ErrNotFound},
		"NoColumn":     {open(t, "csv", []byte(bins)), "411111", "bank\nowner", "", ErrColumn},
		"EmptyColumn":  {open(t, "csv", []byte(bins)), "411111", "bank\n\n", "", ErrColumn},
		"ManyColumns":  {open(t, "csv", []byte(bins)), "411111", strings.Repeat("bank\n", 65), "", ErrColumn},
		"IPv4":         {open(t, "mmdb", sample(t)), "192.0.2.77", "country.iso_code\ncity.names.en\nautonomous_system_number", "DE|Köln|64496", nil},
		"IPv6":         {open(t, "mmdb", sample(t)), "2001:DB8::1", "country.iso_code\nautonomous_system_number", "NL|4200000000", nil},
		"Mapped":       {open(t, "mmdb", sample(t)), "::ffff:192.0.2.77", "country.iso_code", "DE", nil},
		"List":         {open(t, "mmdb", sample(t)), "192.0.2.1", "subdivisions.1.iso_code\nsubdivisions.-2.iso_code\nsubdivisions.7.iso_code", "B|A|-", nil},
		"Bool":         {open(t, "mmdb", sample(t)), "198.51.100.1", "country.is_in_european_union", "false", nil},
		"NotThere":     {open(t, "mmdb", sample(t)), "203.0.113.9", "city.names.en\ncountry.iso_code\ncountry", "-|FR|-", nil},
		"NoNetwork":    {open(t, "mmdb", sample(t)), "198.51.100.200", "country.iso_code", "", ErrNotFound},
		"NoAddress":    {open(t, "mmdb", sample(t)), "localhost", "country.iso_code", "", ErrKey},
		"Zone":         {open(t, "mmdb", sample(t)), "fe80::1%eth0", "country.iso_code", "", ErrKey},
		"Port":         {open(t, "mmdb", sample(t)), "192.0.2.77:443", "country.iso_code", "", ErrKey},
		"LongAddress":  {open(t, "mmdb", sample(t)), strings.Repeat("0", 5000), "country.iso_code", "", ErrKey},
		"LongPath":     {open(t, "mmdb", sample(t)), "192.0.2.77", strings.Repeat("a.", 16) + "a", "", ErrColumn},
		"PathOfNobody": {open(t, "mmdb", sample(t)), "192.0.2.77", "..", "-", nil},
	} {
		got, err := c.table.Append(nil, []byte(c.key), []byte(c.columns))
		if !errors.Is(err, c.err) || c.err == nil && err != nil || err == nil && values(t, got) != c.want {
			t.Errorf("%s: %q, %v, want %q, %v", rule, got, err, c.want, c.err)
		}
	}
}

func TestFilesThatAreNoTablesAreRefused(t *testing.T) {
	mmdb := sample(t)
	for rule, c := range map[string]struct {
		format, key, raw string
	}{
		"Empty":       {"csv", "", ""},
		"TwoColumns":  {"csv", "", "a,a\n1,2\n"},
		"KeyTwice":    {"csv", "", "a,b\n1,2\n1,3\n"},
		"NoKey":       {"csv", "c", "a,b\n1,2\n"},
		"ShortRow":    {"csv", "", "a,b\n1\n"},
		"Quote":       {"csv", "", "a,b\n1,\"2\n"},
		"CSVAsMMDB":   {"mmdb", "", bins},
		"CutMMDB":     {"mmdb", "", string(mmdb[:len(mmdb)-40])},
		"NoTree":      {"mmdb", "", string(mmdb[len(mmdb)-240:])},
		"EmptyMMDB":   {"mmdb", "", ""},
		"MMDBAsCSV":   {"csv", "", string(mmdb)},
		"MarkerAlone": {"mmdb", "", "\xab\xcd\xefMaxMind.com"},
	} {
		d := declare(c.format, []byte(c.raw))
		d.Key = c.key
		if table, err := Open(NewContent([]byte(c.raw)), d); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v", rule, table, err)
		}
	}
}

func TestOnlyAnApprovedFileIsATable(t *testing.T) {
	d := declare("csv", []byte(bins))
	if _, err := Open(NewContent([]byte(bins+"999999,Own,XX\n")), d); !errors.Is(err, ErrNotApproved) {
		t.Errorf("a file with another row: %v", err)
	}

	// Two are approved while one takes the place of the other.
	next := bins + "999999,Third,FR\n"
	d.Files = append(d.Files, declare("csv", []byte(next)).Files...)
	for _, raw := range []string{bins, next} {
		if _, err := Open(NewContent([]byte(raw)), d); err != nil {
			t.Error(err)
		}
	}
}

func TestTableIsStaleBeyondItsAge(t *testing.T) {
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d := declare("csv", []byte(bins))
	d.MaxAgeDays = 1.5
	d.Files[0].AsOf = day
	ofCSV, err := Open(NewContent([]byte(bins)), d)
	if err != nil {
		t.Fatal(err)
	}

	d = declare("mmdb", sample(t))
	d.MaxAgeDays = 1.5
	ofMMDB, err := Open(NewContent(sample(t)), d) // its own time
	if err != nil {
		t.Fatal(err)
	}

	for _, table := range []*Table{ofCSV, ofMMDB} {
		if table.Stale(day.Add(36*time.Hour-1)) || !table.Stale(day.Add(36*time.Hour)) {
			t.Errorf("it is stale from %v", table.stale)
		}
	}
	if open(t, "csv", []byte(bins)).Stale(day.AddDate(1000, 0, 0)) {
		t.Error("a table without an age gets too old")
	}
}

func TestDeclarations(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	file := `{"sha256": "` + digest + `"}`
	for rule, c := range map[string]struct {
		config string
		tables int
		wrong  string
	}{
		"NoJSON":      {"a: b", 0, ""},
		"Empty":       {"", 0, ""},
		"NoTables":    {`{"rules": []}`, 0, ""},
		"NotAnObject": {`[1, 2]`, 0, ""},
		"Two":         {`{"rules": 1, "tables": {"a": {"format": "mmdb", "files": [` + file + `]}, "b": {"format": "csv", "key": "k", "files": [` + file + `]}}}`, 2, ""},
		"Age":         {`{"tables": {"a": {"format": "csv", "max_age_days": 7, "files": [{"sha256": "` + digest + `", "as_of": "2026-01-01T00:00:00Z"}]}}}`, 1, ""},
		"Format":      {`{"tables": {"a": {"format": "xml", "files": [` + file + `]}}}`, 0, "format is csv or mmdb"},
		"NoFiles":     {`{"tables": {"a": {"format": "csv"}}}`, 0, "it names 1 to 16 files"},
		"Digest":      {`{"tables": {"a": {"format": "csv", "files": [{"sha256": "abc"}]}}}`, 0, "64 hexadecimal digits"},
		"NoAsOf":      {`{"tables": {"a": {"format": "csv", "max_age_days": 7, "files": [` + file + `]}}}`, 0, "needs as_of"},
		"Negative":    {`{"tables": {"a": {"format": "csv", "max_age_days": -7, "files": [` + file + `]}}}`, 0, "number of days"},
		"KeyOfMMDB":   {`{"tables": {"a": {"format": "mmdb", "key": "ip", "files": [` + file + `]}}}`, 0, "is the address"},
		"Misspelt":    {`{"tables": {"a": {"format": "csv", "file": [` + file + `]}}}`, 0, "unknown field"},
		"NoName":      {`{"tables": {"": {"format": "csv", "files": [` + file + `]}}}`, 0, "a name has"},
		"AList":       {`{"tables": []}`, 0, "cannot unmarshal"},
	} {
		tables, err := Declared([]byte(c.config))
		if len(tables) != c.tables || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, %v", rule, tables, err)
		}
	}
}

func TestContentIsReadOnceAndByMany(t *testing.T) {
	c := NewContent([]byte(bins))
	d := declare("csv", []byte(bins))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			table, err := Open(c, d)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := table.Append(nil, []byte("411111"), []byte("bank")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(c.opened) != 1 {
		t.Errorf("it was opened %d times", len(c.opened))
	}
}

func FuzzDeclared(f *testing.F) {
	f.Add([]byte(`{"tables": {"a": {"format": "csv", "key": "k", "files": [{"sha256": "00", "as_of": "2026-01-01T00:00:00Z"}]}}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		tables, err := Declared(config)
		for _, d := range tables {
			if err != nil || d.check() != nil {
				t.Errorf("%+v, %v", d, err)
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add([]byte(bins), "411111", "bank\ncountry")
	f.Add(sample(f), "192.0.2.77", "country.iso_code\ncity.names.en\nsubdivisions.1.iso_code")
	f.Fuzz(func(t *testing.T, raw []byte, key, columns string) {
		for _, format := range []string{"csv", "mmdb"} {
			table, err := Open(NewContent(raw), declare(format, raw))
			if err != nil {
				continue
			}
			out, err := table.Append(nil, []byte(key), []byte(columns))
			if err == nil {
				values(t, out)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for name, c := range map[string]struct {
		table        *Table
		key, columns string
	}{
		"CSV":  {open(b, "csv", []byte(bins)), "411111", "bank\ncountry"},
		"MMDB": {open(b, "mmdb", sample(b)), "192.0.2.77", "country.iso_code\ncity.names.en\nautonomous_system_number"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var out []byte
			for b.Loop() {
				out, _ = c.table.Append(out[:0], []byte(c.key), []byte(c.columns))
			}
		})
	}
}
