// Package lookup finds rows of tables that do not change: CSV files by a key column,
// and MaxMind DB files by IP address.
//
// What tables a module may use, and which files those may be, stands in the module's
// configuration, which was approved byte for byte: by the files' SHA-256. So a table
// is approved with the configuration that names it, and a file of any other digest is
// no table. Where the files lie is for the gateway's own configuration.
//
// Trust: files are as approved, but whoever made them may have been wrong. Keys and
// columns come from guests.
package lookup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"
)

const (
	// MaxBytes bounds a table's file.
	MaxBytes = 256 << 20
	// MaxTables bounds the tables of a module, and MaxColumns the columns of a call.
	MaxTables  = 16
	MaxColumns = 64

	maxFiles = 16
	maxName  = 64
)

// The answers that are no row.
var (
	ErrNotFound = errors.New("the table has no such row")
	ErrKey      = errors.New("the key is not of the kind that the table has")
	ErrColumn   = errors.New("the table has no such column")
)

// What is wrong with the file of a table.
var (
	ErrNotApproved = errors.New("the approved configuration does not name this file by its SHA-256")
	ErrMalformed   = errors.New("the file is not of the table's format")
)

// Declaration is what an approved configuration says of a table.
type Declaration struct {
	Format     string  `json:"format"` // csv or mmdb
	Key        string  `json:"key"`    // csv: the column that rows are found by; default: the first
	Files      []File  `json:"files"`
	MaxAgeDays float64 `json:"max_age_days"` // 0: it is never too old
}

// File is one that may be the table. There are several while one takes the place of
// another.
type File struct {
	SHA256 string    `json:"sha256"`
	AsOf   time.Time `json:"as_of"` // when it was true; mmdb has the time itself
}

// Declared reads the member "tables" of a module's configuration. A configuration
// without it has no tables, whatever it is.
func Declared(config []byte) (map[string]Declaration, error) {
	var outer struct {
		Tables json.RawMessage `json:"tables"`
	}
	if err := json.Unmarshal(config, &outer); err != nil || len(outer.Tables) == 0 {
		return nil, nil
	}

	var tables map[string]Declaration
	d := json.NewDecoder(bytes.NewReader(outer.Tables))
	d.DisallowUnknownFields()
	if err := d.Decode(&tables); err != nil {
		return nil, fmt.Errorf("tables of the configuration: %w", err)
	}
	if len(tables) > MaxTables {
		return nil, fmt.Errorf("tables of the configuration: %d are more than %d", len(tables), MaxTables)
	}

	for name, t := range tables {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("table %.*q of the configuration: %w", maxName, name, err)
		}
		if name == "" || len(name) > maxName {
			return nil, fmt.Errorf("tables of the configuration: a name has 1 to %d bytes", maxName)
		}
	}

	return tables, nil
}

func (d Declaration) check() error {
	switch {
	case d.Format != "csv" && d.Format != "mmdb":
		return errors.New("format is csv or mmdb")
	case d.Format == "mmdb" && d.Key != "":
		return errors.New("the key of an mmdb is the address")
	case len(d.Files) == 0 || len(d.Files) > maxFiles:
		return fmt.Errorf("it names 1 to %d files", maxFiles)
	case d.MaxAgeDays < 0 || d.MaxAgeDays > 36_500:
		return errors.New("max_age_days is a number of days")
	}

	for _, f := range d.Files {
		if raw, err := hex.DecodeString(f.SHA256); err != nil || len(raw) != sha256.Size {
			return errors.New("sha256 is 64 hexadecimal digits")
		}
		if d.Format == "csv" && d.MaxAgeDays > 0 && f.AsOf.IsZero() {
			return errors.New("max_age_days needs as_of for each file: a csv does not say how old it is")
		}
	}

	return nil
}

// file returns what the declaration says of a file of this digest.
func (d Declaration) file(digest [32]byte) (File, bool) {
	for _, f := range d.Files {
		if raw, err := hex.DecodeString(f.SHA256); err == nil && bytes.Equal(raw, digest[:]) {
			return f, true
		}
	}
	return File{}, false
}

// Content is a file as it was read. What is made of it is made once, however many
// modules and reloads use it. It is safe for concurrent use.
type Content struct {
	raw    []byte
	digest [32]byte

	mu     sync.Mutex
	opened map[string]rows // by format and key column; guarded by mu
}

// NewContent takes over the bytes of a file.
func NewContent(raw []byte) *Content {
	return &Content{raw: raw, digest: sha256.Sum256(raw), opened: map[string]rows{}}
}

// Digest is the SHA-256 of the file.
func (c *Content) Digest() [32]byte { return c.digest }

// rows are found by a key. Appended are the values of columns, as Table.Append says.
type rows interface {
	find(dst, key, columns []byte) ([]byte, error)
	asOf() time.Time // zero: it does not say
}

// Table is an approved file that rows are found in. It is safe for concurrent use.
type Table struct {
	rows
	digest [32]byte
	stale  time.Time // zero: never
}

// Open makes a table of a file, if the declaration names it.
func Open(c *Content, d Declaration) (*Table, error) {
	file, ok := d.file(c.digest)
	if !ok {
		return nil, fmt.Errorf("%w; it is %x", ErrNotApproved, c.digest)
	}

	found, err := c.open(d)
	if err != nil {
		return nil, err
	}

	t := &Table{rows: found, digest: c.digest}
	if d.MaxAgeDays > 0 {
		asOf := file.AsOf
		if asOf.IsZero() {
			asOf = found.asOf()
		}
		t.stale = asOf.Add(time.Duration(d.MaxAgeDays * 24 * float64(time.Hour)))
	}

	return t, nil
}

func (c *Content) open(d Declaration) (rows, error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	kind := d.Format + " " + d.Key
	if c.opened[kind] != nil {
		return c.opened[kind], nil
	}

	var made rows
	var err error
	if d.Format == "csv" {
		made, err = openCSV(c.raw, d.Key)
	} else {
		made, err = openMMDB(c.raw)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}

	c.opened[kind] = made
	return made, nil
}

// Digest is the SHA-256 of the table's file.
func (t *Table) Digest() [32]byte { return t.digest }

// Stale reports whether the table is older than it may be.
func (t *Table) Stale(now time.Time) bool { return !t.stale.IsZero() && !now.Before(t.stale) }

// Append finds a row and appends the values of columns, whose names stand a line
// each: four bytes with the length of the value, little endian, and the value. Of a
// column without a value the length is 0xffffffff.
func (t *Table) Append(dst, key, columns []byte) ([]byte, error) {
	if bytes.Count(columns, []byte{'\n'}) >= MaxColumns {
		return dst, ErrColumn
	}

	return t.find(dst, key, columns)
}

// eachColumn are the names that stand in columns, a line each.
func eachColumn(columns []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(columns) > 0 {
			var name []byte
			name, columns, _ = bytes.Cut(columns, []byte{'\n'})
			if !yield(name) {
				return
			}
		}
	}
}

// Null is the length of what is not there.
const Null = 0xffffffff

func appendValue[T string | []byte](dst []byte, value T) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

func appendNull(dst []byte) []byte { return binary.LittleEndian.AppendUint32(dst, Null) }
