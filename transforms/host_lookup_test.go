package transforms

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/record"
)

const lookupFind = "guardlock_lookup.find"

// The record of these tests holds a table's name, a key and columns behind each other.
const lookupRecord = "bank" + "411111" + "name\ncountry"

func lookupArgs(name, key, columns, room int32) []byte {
	at := func(offset int32) []byte {
		return cat(frameField(frameInDescs), load32(descValue), i32c(offset), op(opI32Add))
	}
	return cat(at(0), i32c(name), at(4), i32c(key), at(10), i32c(columns), i32c(hostOut), i32c(room))
}

// bankTables are the tables of a configuration that was approved with this file.
func bankTables(t *testing.T, more string) map[string]*Table {
	t.Helper()
	raw := []byte("bin,name,country\n411111,First,DE\n")
	config := fmt.Sprintf(`{"tables": {"bank": {"format": "csv", %s "files": [{"sha256": "%x", "as_of": "2026-01-01T00:00:00Z"}]}}}`, more, sha256.Sum256(raw))
	tables, err := OpenTables([]byte(config), func(string, string) (*TableContent, error) { return NewTableContent(raw), nil })
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

func lookupSpec(t *testing.T, a asm, more string) Spec {
	return Spec{Wasm: a.wasm(), Grant: Grant{HostFunctions: []string{lookupFind}}, Tables: bankTables(t, more)}
}

func TestGuestFindsRowsOfItsTables(t *testing.T) {
	spec := lookupSpec(t, hostGuest(lookupFind, typEight, lookupArgs(4, 6, 12, 100), 0), "")
	b, err := runBothWays(t, spec, func() *record.Batch { return values(lookupRecord) }, Origin{})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b.Bytes(b.Records[0].Value)); got != "\x05\x00\x00\x00First\x02\x00\x00\x00DE" {
		t.Errorf("got %q", got)
	}
}

func TestHostileArgumentsOfLookups(t *testing.T) {
	out := cat(i32c(-1), i32c(9))
	none := cat(i32c(0), i32c(0))
	name := cat(frameField(frameInDescs), load32(descValue), i32c(4))
	for rule, c := range map[string]struct {
		args []byte
		want int32
	}{
		"NoTable":      {lookupArgs(3, 6, 12, 100), hostUnknownKey},
		"NamelessOne":  {lookupArgs(0, 6, 12, 100), hostUnknownKey},
		"NoRow":        {lookupArgs(4, 5, 12, 100), hostNotFound},
		"NoColumn":     {lookupArgs(4, 6, 11, 100), hostBadArguments},
		"TooSmall":     {lookupArgs(4, 6, 12, 14), hostTooSmall},
		"Fits":         {lookupArgs(4, 6, 12, 15), 15},
		"NoColumns":    {lookupArgs(4, 6, 0, 0), 0},
		"NameOut":      {cat(out, none, none, i32c(hostOut), i32c(9)), hostBadArguments},
		"KeyOut":       {cat(name, out, none, i32c(hostOut), i32c(9)), hostBadArguments},
		"ColumnsOut":   {cat(name, none, out, i32c(hostOut), i32c(9)), hostBadArguments},
		"KeyTooLong":   {cat(name, i32c(0), i32c(maxHostBytes+1), none, i32c(hostOut), i32c(9)), hostBadArguments},
		"OutputOut":    {cat(lookupArgs(4, 6, 12, 100)[:len(lookupArgs(4, 6, 12, 100))-len(cat(i32c(hostOut), i32c(100)))], i32c(-4), i32c(100)), hostBadArguments},
		"HugeColumns":  {lookupArgs(4, 6, 1<<20, 100), hostBadArguments},
		"HugeOfMemory": {lookupArgs(4, 6, -1, 100), hostBadArguments},
	} {
		t.Run(rule, func(t *testing.T) {
			m := load(t, newRuntime(t, Config{}), lookupSpec(t, expectResult(lookupFind, typEight, c.args, c.want), ""))
			if err := NewChain(m).Run(t.Context(), values(lookupRecord), Origin{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// By the records' clock, the table is stale from the moment that it is too old.
func TestStaleTableIsRefused(t *testing.T) {
	end := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC).UnixMilli()
	for at, want := range map[int64]int32{end - 1: 15, end: hostStale} {
		spec := lookupSpec(t, expectResult(lookupFind, typEight, lookupArgs(4, 6, 12, 100), want), `"max_age_days": 1.5,`)
		b := values(lookupRecord)
		b.Records[0].Timestamp = at
		if err := NewChain(load(t, newRuntime(t, Config{RecordClock: true}), spec)).Run(t.Context(), b, Origin{}); err != nil {
			t.Errorf("at %d: %v", at, err)
		}
	}

	// By the clock of the gateway, it has been for long.
	spec := lookupSpec(t, expectResult(lookupFind, typEight, lookupArgs(4, 6, 12, 100), hostStale), `"max_age_days": 0.001,`)
	if err := NewChain(load(t, newRuntime(t, Config{}), spec)).Run(t.Context(), values(lookupRecord), Origin{}); err != nil {
		t.Error(err)
	}
}

func TestModuleWithoutTablesFindsNothing(t *testing.T) {
	spec := lookupSpec(t, expectResult(lookupFind, typEight, lookupArgs(4, 6, 12, 100), hostUnknownKey), "")
	spec.Tables = nil
	if err := NewChain(load(t, newRuntime(t, Config{}), spec)).Run(t.Context(), values(lookupRecord), Origin{}); err != nil {
		t.Error(err)
	}
}
