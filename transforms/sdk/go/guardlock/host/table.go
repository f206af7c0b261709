package host

import (
	"encoding/binary"
	"strings"
)

// Table is one that a module looks up in, by a key, for some of its columns.
type Table struct {
	name, columns string
	values        [][]byte
	buffer        []byte
}

// NewTable names a table and columns. A module has one for each question, and asks it
// for every record.
func NewTable(name string, columns ...string) *Table {
	return &Table{name: name, columns: strings.Join(columns, "\n"), values: make([][]byte, len(columns))}
}

// noValue is the length of a value that a row does not have.
const noValue = 1<<32 - 1

// Find returns the values of the key's row in the order of the columns, nil for one that
// it does not have. They hold until the next Find. Together they have at most so many
// bytes.
func (t *Table) Find(key []byte, most int) ([][]byte, error) {
	buffer, out := grown(t.buffer[:0], most+4*len(t.values))
	found, err := answered(buffer, find(t.name, t.columns, key, out))
	t.buffer = buffer
	if err != nil {
		return nil, err
	}

	for n := range t.values {
		if len(found) < 4 {
			return nil, ErrFailed
		}
		size := binary.LittleEndian.Uint32(found)
		found = found[4:]
		if size == noValue {
			t.values[n] = nil
			continue
		}
		if int(size) > len(found) {
			return nil, ErrFailed
		}
		t.values[n] = found[:size:size]
		found = found[size:]
	}

	return t.values, nil
}
