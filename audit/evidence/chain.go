package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// maxTries bounds the search for the admissions of one chain.
const maxTries = 100_000

// Admissions finds which entries let the modules of decisions run.
type Admissions struct {
	all   map[Module][]Admitted
	found map[string][]Admitted // by modules and grant
	tries int
}

// Add takes an entry. One that is no admission, or let nothing run, is left out.
func (s *Admissions) Add(index int64, c *Control) {
	if c.Kind != KindAdmission && c.Kind != KindStanding || c.Outcome != "allowed" {
		return
	}
	if s.all == nil {
		s.all = make(map[Module][]Admitted)
		s.found = make(map[string][]Admitted)
	}
	s.all[c.Module] = append(s.all[c.Module], Admitted{index, c.Module, c})
}

// Of finds an admission for each module of a decision: before it, not ended, and such
// that the grant which the decision names is made of theirs.
func (s *Admissions) Of(index int64, d *Decision) ([]Admitted, error) {
	if len(d.Modules) == 0 {
		return nil, nil
	}
	key := fmt.Sprintf("%x %q", d.Grant, d.Modules)
	if found, ok := s.found[key]; ok && allHold(found, index, d.Time) {
		return found, nil
	}

	s.tries = 0
	found := make([]Admitted, len(d.Modules))
	if !s.search(found, 0, [32]byte{}, index, d) {
		return nil, unproven("nothing in it let the modules of entry %d run, under the grant that it names", index)
	}
	s.found[key] = found
	return found, nil
}

func allHold(all []Admitted, index, time int64) bool {
	for i := range all {
		if !all[i].holds(index, time) {
			return false
		}
	}
	return true
}

// search fills found from its nth on. The latest admission comes first.
func (s *Admissions) search(found []Admitted, nth int, grant [32]byte, index int64, d *Decision) bool {
	if nth == len(found) {
		return grant == d.Grant
	}

	all := s.all[d.Modules[nth]]
	seen := make(map[string]bool)
	for i := len(all) - 1; i >= 0 && s.tries < maxTries; i-- {
		s.tries++
		a := &all[i]
		own, err := hex.DecodeString(a.Fact(FactGrant))
		if err != nil || len(own) != len(grant) || seen[string(own)] || !a.holds(index, d.Time) {
			continue
		}

		seen[string(own)] = true
		next := [32]byte(own)
		if nth > 0 {
			next = sha256.Sum256(append(grant[:], own...))
		}
		found[nth] = *a
		if s.search(found, nth+1, next, index, d) {
			return true
		}
	}
	return false
}

// holds reports whether the admission was there before an entry, and had not ended.
func (a *Admitted) holds(index, time int64) bool {
	if a.Index >= index {
		return false
	}
	until := a.Fact(FactUntil)
	if until == "" {
		return true
	}
	end, err := strconv.ParseInt(until, 10, 64)
	return err == nil && end > time
}
