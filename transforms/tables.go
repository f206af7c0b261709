package transforms

import (
	"errors"
	"fmt"
	"slices"

	"github.com/guardlock/guardlock/transforms/lookup"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// Tables are package lookup's. Rooms above need its words but not the package.
type (
	Table        = lookup.Table
	TableContent = lookup.Content
)

// MaxTableBytes bounds the file of a table.
const MaxTableBytes = lookup.MaxBytes

// What is wrong with the tables of a module.
var (
	ErrTableMissing     = errors.New("no file is configured for a table that the module's configuration declares")
	ErrTableNotApproved = lookup.ErrNotApproved
	ErrTableMalformed   = lookup.ErrMalformed
)

// NewTableContent takes over the bytes of a table's file.
func NewTableContent(raw []byte) *TableContent { return lookup.NewContent(raw) }

// UsesTables reports whether a module may look anything up.
func UsesTables(info Info) bool {
	return slices.ContainsFunc(info.Imports, func(im wasm.Import) bool { return im.Module == lookupModule })
}

// OpenTables makes the tables that an approved configuration declares. Each is of the
// content that its name stands for, whose digest the configuration names.
func OpenTables(config []byte, content func(name, format string) (*TableContent, error)) (map[string]*Table, error) {
	declared, err := lookup.Declared(config)
	if err != nil {
		return nil, err
	}

	tables := map[string]*Table{}
	for name, d := range declared {
		c, err := content(name, d.Format)
		if err != nil {
			return nil, fmt.Errorf("table %q: %w", name, err)
		}
		if tables[name], err = lookup.Open(c, d); err != nil {
			return nil, fmt.Errorf("table %q: %w", name, err)
		}
	}

	return tables, nil
}
