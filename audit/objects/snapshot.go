package objects

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/guardlock/guardlock/audit"
)

// Format is the first field of every snapshot of this version.
const Format = "guardlock authority v1"

// RoleSnapshot is the role of the snapshot among the files of an authority entry.
const RoleSnapshot = "authority"

// MaxSnapshot bounds a snapshot in bytes: it grows with the bindings.
const MaxSnapshot = 64 << 20

// ErrSnapshot means that bytes are no snapshot of this version.
var ErrSnapshot = errors.New("it is no snapshot of an authority")

// Snapshot is all that a gateway serves under at one time. Each digest in it but those
// of tables and grants is an object's, and equal snapshots are equal bytes.
type Snapshot struct {
	Format   string       `json:"format"`
	Gateway  string       `json:"gateway"` // its name
	Version  string       `json:"version"` // of Guardlock
	Files    []audit.File `json:"files"`   // that all bindings were built from
	Modules  []Module     `json:"modules"`
	Bindings []Binding    `json:"bindings"`
}

// Module is a module that was let run, with what it is made of. One that was
// let run on several bindings with several grants is several.
type Module struct {
	Name      string       `json:"name"`
	Wasm      audit.Digest `json:"wasm"`
	Config    audit.Digest `json:"config"`
	Signature audit.Digest `json:"signature"`
	Approvals []Approval   `json:"approvals"` // that counted
	Tables    []string     `json:"tables,omitempty"`
	Grant     audit.Digest `json:"grant"`
	Functions []string     `json:"functions,omitempty"` // that policy left of the grant
	Limits    audit.Limits `json:"limits"`
}

// Approval is a bundle, and what admissions call it.
type Approval struct {
	ID     string       `json:"id"`
	KeyID  string       `json:"key_id"`
	Bundle audit.Digest `json:"bundle"`
}

// Binding is what runs on topics, in the order of the chain.
type Binding struct {
	Cluster    string   `json:"cluster"`
	Name       string   `json:"name"`
	Topics     []string `json:"topics"`
	Modules    []int    `json:"modules,omitempty"`    // places in the snapshot's list
	Refused    string   `json:"refused,omitempty"`    // the reason for which nothing may be produced
	Recompress string   `json:"recompress,omitempty"` // of what modules changed
	OnDrop     string   `json:"on_drop,omitempty"`
}

// Encode writes the snapshot in the one way.
func (s *Snapshot) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return nil, fmt.Errorf("writing a snapshot: %w", err)
	}
	return append(b, '\n'), nil
}

// ParseSnapshot reads a snapshot. What this version does not know is refused.
func ParseSnapshot(b []byte) (*Snapshot, error) {
	var s Snapshot
	in := json.NewDecoder(bytes.NewReader(b))
	in.DisallowUnknownFields()
	if err := in.Decode(&s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if s.Format != Format {
		return nil, fmt.Errorf("%w: its format is %.40q", ErrSnapshot, s.Format)
	}

	for i := range s.Bindings {
		for _, m := range s.Bindings[i].Modules {
			if m < 0 || m >= len(s.Modules) {
				return nil, fmt.Errorf("%w: binding %s names module %d of %d", ErrSnapshot, s.Bindings[i].Name, m, len(s.Modules))
			}
		}
	}
	return &s, nil
}

// Named are the objects that the snapshot names, each with what it is.
func (s *Snapshot) Named() (all []Object) {
	for _, f := range s.Files {
		all = append(all, Object{f.Role, f.Digest})
	}
	seen := make(map[audit.Digest]bool)
	add := func(role string, d audit.Digest) {
		if d != (audit.Digest{}) && !seen[d] {
			seen[d] = true
			all = append(all, Object{role, d})
		}
	}

	for i := range s.Modules {
		m := &s.Modules[i]
		add("module "+m.Name, m.Wasm)
		add("configuration of "+m.Name, m.Config)
		add("signature of "+m.Name, m.Signature)
		for _, a := range m.Approvals {
			add("approval of "+m.Name, a.Bundle)
		}
	}
	return all
}

// Object is what a snapshot names.
type Object struct {
	Role   string       `json:"role"`
	Digest audit.Digest `json:"digest"`
}
