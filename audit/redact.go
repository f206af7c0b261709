package audit

import (
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/guardlock/guardlock/audit/evidence"
)

// Place is where in an entry a personal value stood. Part of the format: never renumber.
type Place uint64

// The places. From PlaceDetail on they are the details of steps, in their order.
const (
	PlacePrincipal   Place = 0
	PlaceClientID    Place = 1
	PlaceSource      Place = 2
	PlaceCertificate Place = 3
	PlaceDetail      Place = 4
)

// String names the place as reports do.
func (p Place) String() string {
	names := [...]string{"principal", "client_id", "source", "certificate", "detail"}
	return names[min(p, PlaceDetail)]
}

// Redacted is a personal value that an erasure took out of an entry. What is left is its
// name in evidence, which tells nothing to those who lack the salt.
type Redacted struct {
	Place   Place
	Name    evidence.Name // as the leaf has it; never zero
	Request Digest        // of what asked for the erasure
}

// String is what readers show in the value's place.
func (r *Redacted) String() string { return "redacted:" + hex.EncodeToString(r.Request[:4]) }

// Redactions are what was taken out of one entry, by place. They are not changed.
type Redactions []Redacted

// Of tells what was taken out of a place; nil where nothing was.
func (rs Redactions) Of(p Place) *Redacted {
	for i := range rs {
		if rs[i].Place == p {
			return &rs[i]
		}
	}
	return nil
}

// Requests are those that values were taken out for, by field; nil where none was.
func (rs Redactions) Requests() map[string]Digest {
	if len(rs) == 0 {
		return nil
	}

	requests := make(map[string]Digest, len(rs))
	for i := range rs {
		requests[rs[i].Place.String()] = rs[i].Request
	}
	return requests
}

// shown is a value, or what is shown where it was taken out.
func (rs Redactions) shown(p Place, value string) string {
	if r := rs.Of(p); r != nil {
		return r.String()
	}
	return value
}

// name is that of a value, or the one that is left of it.
func (rs Redactions) name(p Place, value string, of func(string) evidence.Name) evidence.Name {
	if r := rs.Of(p); r != nil {
		return r.Name
	}
	return of(value)
}

// Show puts what readers show in the places that something was taken out of.
func (c *Caller) Show() {
	c.Principal = c.Redacted.shown(PlacePrincipal, c.Principal)
	c.ClientID = c.Redacted.shown(PlaceClientID, c.ClientID)
	c.Source = c.Redacted.shown(PlaceSource, c.Source)
}

// Shown is the entry as readers show it.
func (c *ControlEntry) Shown() *ControlEntry {
	if c.Redacted == nil {
		return c
	}

	shown := *c
	shown.Principal = c.Redacted.shown(PlacePrincipal, c.Principal)
	shown.Steps = slices.Clone(c.Steps)
	for i := range shown.Steps {
		shown.Steps[i].Detail = c.Redacted.shown(PlaceDetail+Place(i), shown.Steps[i].Detail)
	}
	return &shown
}

// errRedacted refuses what only an erasure writes.
var errRedacted = fmt.Errorf("%w: it is redacted", ErrInvalidEntry)

// kind begins an entry. One that was redacted says so first: a reader from before
// erasures refuses it, and does not take an empty field for one that was.
func (e *encoder) kind(k Kind, rs Redactions) {
	if len(rs) == 0 {
		e.byte(byte(k))
		return
	}

	e.byte(byte(kindRedacted))
	e.byte(byte(k))
	e.uvarint(uint64(len(rs)))
	for i := range rs {
		e.uvarint(uint64(rs[i].Place))
		e.fixed(roleText, rs[i].Name[:])
		e.fixed(roleText, rs[i].Request[:])
	}
}

// redactions reads what was taken out of the entry that comes: nothing, mostly.
func (c *cursor) redactions() Redactions {
	if !c.redacted {
		return nil
	}
	c.redacted = false

	n := c.count()
	rs := make(Redactions, 0, min(n, 8))
	for range n {
		r := Redacted{Place: Place(c.uvarint())}
		c.fixed(roleText, r.Name[:])
		c.fixed(roleText, r.Request[:])
		unordered := len(rs) > 0 && r.Place <= rs[len(rs)-1].Place
		if c.bad || unordered || r.Name == (evidence.Name{}) || r.Request == (Digest{}) {
			c.fail()
			return nil
		}
		rs = append(rs, r)
	}

	c.bad = c.bad || len(rs) == 0
	return rs
}

// fitBatch reports whether nothing stands where something was taken out.
func (rs Redactions) fitBatch(b *BatchEntry) bool {
	for i := range rs {
		left := true
		switch rs[i].Place {
		case PlacePrincipal:
			left = b.Principal != ""
		case PlaceClientID:
			left = b.ClientID != ""
		case PlaceSource:
			left = b.Source != ""
		case PlaceCertificate:
			left = b.TLS.Fingerprint != Fingerprint{}
		}
		if left {
			return false
		}
	}
	return true
}

// fitControl is fitBatch of a control entry, which has a principal and steps.
func (rs Redactions) fitControl(c *ControlEntry) bool {
	for i := range rs {
		p := rs[i].Place
		if p == PlacePrincipal && c.Principal == "" {
			continue
		}
		if p < PlaceDetail || p-PlaceDetail >= Place(len(c.Steps)) || c.Steps[p-PlaceDetail].Detail != "" {
			return false
		}
	}
	return true
}
