package audit_test

import (
	"testing"

	"github.com/guardlock/guardlock/audit"
)

// byPageErased is what was erased, and what is found of it.
type byPageErased struct {
	names     map[uint64][]byte // by place
	rewritten int               // segments
	redacted  int               // entries
	redacts   bool              // the segment may have any
	ended     [32]byte          // chain value of the segment's last frame
}

// So can they where somebody was erased from it.
func TestRewrittenLogIsReadByItsSpecificationAlone(t *testing.T) {
	dir := logForPage(t)
	e := audit.Erasing{Keys: [][32]byte{testKey}, Request: gdpr17, Names: nameOf,
		Personal: audit.Personal{Principals: []string{"User:p3"}, Certificates: []audit.Digest{audit.Digest(carol)}}}
	entries := 0
	for n := uint32(1); n <= 2; n++ {
		done, err := audit.EraseSegment(dir, n, e)
		if err != nil {
			t.Fatal(err)
		}
		entries += done.Entries
	}

	r := readPage(t, dir)
	r.check(r.rewritten == 2 && r.redacted == entries && entries > 10, "%d segments, %d entries of %d", r.rewritten, r.redacted, entries)
}

// redactions reads what was taken out of an entry, and returns a bit for each place.
func (r *readByPage) redactions(c *bytesOf) (places int) {
	for n := c.uvarint(); n > 0; n-- {
		place := c.uvarint()
		name := c.string()
		r.check(name == string(r.names[place]) && c.string() == string(gdpr17[:]), "place %d has the name %x", place, name)
		places |= 1 << place
	}
	r.redacted++
	return places
}
