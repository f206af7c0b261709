package audit

import (
	"encoding/hex"
	"slices"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Spelled is an entry that an erasure leaves though it seems to name the person: spelled
// otherwise than in the request, or in a text that people wrote.
type Spelled struct {
	Entry  DecisionID `json:"decision_id"`
	Places []string   `json:"places"` // fields of it
}

// Spellings finds what names a person without being a value as the log has it: in other
// case, percent-encoded, in another Unicode normal form. It is a help for people, who
// decide: what a person is called beside that no program finds.
type Spellings struct {
	exact  *Personal
	names  []string // principals, sources and certificates, folded
	ids    []string // client ids, folded
	folded map[string]string
}

// Spellings are those of the values.
func (p *Personal) Spellings() *Spellings {
	s := &Spellings{exact: p, folded: make(map[string]string)}
	for _, v := range slices.Concat(p.Principals, p.Sources) {
		s.names = append(s.names, fold(v))
	}
	for _, d := range p.Certificates {
		s.names = append(s.names, hex.EncodeToString(d[:]))
	}
	for _, v := range p.ClientIDs {
		s.ids = append(s.ids, fold(v))
	}
	return s
}

// In lists the fields of an entry in which one is, and that an erasure leaves.
func (s *Spellings) In(e *Entry) (places []string) {
	add := func(place, text string, values []string) {
		if !slices.Contains(places, place) && s.in(text, values) {
			places = append(places, place)
		}
	}

	switch {
	case e.Batch != nil:
		b := e.Batch
		if !slices.Contains(s.exact.Principals, b.Principal) {
			add(PlacePrincipal.String(), b.Principal, s.names)
		}
		if !slices.Contains(s.exact.ClientIDs, b.ClientID) {
			add(PlaceClientID.String(), b.ClientID, s.ids)
		}
		if !slices.Contains(s.exact.Sources, b.Source) {
			add(PlaceSource.String(), b.Source, s.names)
		}
	case e.Control != nil:
		s.inControl(e.Control, add)
	}
	return places
}

func (s *Spellings) inControl(c *ControlEntry, add func(place, text string, values []string)) {
	if !slices.Contains(s.exact.Principals, c.Principal) && !slices.Contains(s.exact.Sources, c.Principal) {
		add(PlacePrincipal.String(), c.Principal, s.names)
	}
	for i := range c.Steps {
		if step := &c.Steps[i]; !structural(step.Name) && !s.exact.mentioned(step.Detail) {
			add(PlaceDetail.String(), step.Detail, s.names)
		}
	}
	add("reason", c.Reason, s.names)

	if s.exact.inClear(c) {
		return // which is told anyhow
	}
	for _, text := range clearTexts(c) {
		add("clear", text, s.names)
	}
}

// in reports whether a text names one of the values, both folded.
func (s *Spellings) in(text string, values []string) bool {
	if text == "" {
		return false
	}
	folded, ok := s.folded[text]
	if !ok {
		if len(s.folded) >= maxFolded {
			clear(s.folded)
		}
		folded = fold(text)
		s.folded[text] = folded
	}
	return slices.ContainsFunc(values, func(v string) bool { return mentions(folded, v) })
}

// maxFolded bounds the texts that are remembered: a log says the same again and again.
const maxFolded = 1 << 16

// fold gives spellings of the same text the same form.
func fold(text string) string {
	for range 3 { // what was encoded twice, too
		plain := unescape(text)
		if plain == text {
			break
		}
		text = plain
	}
	return norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text)))
}

// unescape decodes percent-encoding, and leaves what is none as it is.
func unescape(text string) string {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+3 <= len(text) {
			if b, err := hex.DecodeString(text[i+1 : i+3]); err == nil {
				out = append(out, b...)
				i += 2
				continue
			}
		}
		out = append(out, text[i])
	}
	return string(out)
}
