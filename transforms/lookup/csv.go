package lookup

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"time"
)

// csvRows are the rows of a CSV file (RFC 4180) whose first line has the names of its
// columns.
type csvRows struct {
	columns map[string]int
	byKey   map[string][]string
}

// openCSV reads a file. Keys are as they stand there, and none may stand there twice:
// which row is meant could not be told.
func openCSV(raw []byte, key string) (*csvRows, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))))
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the names of the columns: %w", err)
	}

	rows := &csvRows{columns: map[string]int{}, byKey: map[string][]string{}}
	for n, name := range header {
		if _, twice := rows.columns[name]; twice {
			return nil, errors.New("two columns have the same name")
		}
		rows.columns[name] = n
	}

	at, ok := rows.columns[key]
	if key != "" && !ok {
		return nil, errors.New("the key's column is not there")
	}

	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading rows: %w", err)
		}

		if _, twice := rows.byKey[row[at]]; twice {
			line, _ := r.FieldPos(at)
			return nil, fmt.Errorf("line %d has the key of another one", line)
		}
		rows.byKey[row[at]] = row
	}
}

func (r *csvRows) asOf() time.Time { return time.Time{} }

func (r *csvRows) find(dst, key, columns []byte) ([]byte, error) {
	row, ok := r.byKey[string(key)]
	if !ok {
		return dst, ErrNotFound
	}

	for name := range eachColumn(columns) {
		at, ok := r.columns[string(name)]
		if !ok {
			return dst, ErrColumn
		}
		dst = appendValue(dst, row[at])
	}

	return dst, nil
}
