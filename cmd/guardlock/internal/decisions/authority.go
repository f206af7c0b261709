package decisions

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

// writeObjects says of each object that an authority names whether it is kept. One that
// is not as it was is an error, once all were told.
func writeObjects(w io.Writer, store *objects.Store, c *audit.ControlEntry) error {
	named, err := objectsOf(store, c)
	if err != nil {
		return err
	}

	f := &fieldWriter{w: w, p: cli.PaletteFor(w)}
	var wrong []string
	for _, o := range named {
		state, err := store.Look(o.Digest)
		if err != nil {
			return err
		}
		f.field("object", "%-7s  %s  %s", state, o.Digest, o.Role)
		if state != objects.Kept {
			wrong = append(wrong, string(state)+": "+store.Path(o.Digest))
		}
	}

	if f.err != nil || len(wrong) == 0 {
		return f.err
	}
	return exit.WithHint(exit.Refusedf("objects that the log names are not as they were: %s", strings.Join(wrong, ", ")),
		"put them back from a copy of the directory: an object is right if its SHA-256 is its name")
}

// objectsOf are the files that an authority names and, where its snapshot can be read,
// all that this names.
func objectsOf(store *objects.Store, c *audit.ControlEntry) ([]objects.Object, error) {
	var all []objects.Object
	if c.Loaded == nil {
		return nil, nil
	}

	for i := range c.Loaded.Files {
		file := &c.Loaded.Files[i]
		all = append(all, objects.Object{Role: file.Role, Digest: file.Digest})
		if file.Role != objects.RoleSnapshot {
			continue
		}

		raw, err := store.Read(file.Digest, objects.MaxSnapshot)
		if errors.Is(err, objects.ErrMissing) || errors.Is(err, objects.ErrDamaged) {
			continue // it is told as what it is
		}
		if err != nil {
			return nil, err
		}
		s, err := objects.ParseSnapshot(raw)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", store.Path(file.Digest), err)
		}
		all = append(all, s.Named()[len(s.Files):]...)
	}

	return all, nil
}

// writeInForce says what a gateway served under when it made a decision. Each digest names
// an object.
func writeInForce(w io.Writer, in *query.Decision) error {
	if in == nil {
		return nil
	}

	f := &fieldWriter{w: w, p: cli.PaletteFor(w)}
	f.field("in force", "%s  since %s", in.ID, in.Time.UTC().Format(time.RFC3339Nano))
	if in.Control.Loaded != nil {
		for _, file := range in.Control.Loaded.Files {
			f.field("", "%s  %s", file.Role, file.Digest)
		}
	}
	return f.err
}
