package audit

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// randomControl is any control entry that validate takes.
func randomControl(r *rand.Rand) *ControlEntry {
	text := func(n int) string { return strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(n)) }
	list := func() (names []string) {
		for range r.IntN(4) {
			names = append(names, text(300))
		}
		return names
	}

	moment := func() time.Time {
		if r.IntN(3) == 0 {
			return time.Time{}
		}
		return time.UnixMicro(r.Int64N(1 << 52)).UTC()
	}

	c := &ControlEntry{
		Kind:      []Kind{2, 3, 4, 5, 6, 7, 8, KindEra, KindAuthority, KindAdoption, KindReconciliation, KindClock}[r.IntN(12)],
		Time:      time.UnixMicro(r.Int64N(1 << 52)).UTC(),
		Subject:   text(400),
		Module:    ModuleRef{text(9), Digest{byte(r.IntN(2))}},
		Principal: text(20),
		Outcome:   text(9),
		Reason:    text(9),
		Revision:  text(64),
	}
	for range r.IntN(4) {
		c.Steps = append(c.Steps, Step{text(9), text(9), text(300)})
	}

	switch c.Kind {
	case KindOpen:
		c.Opening = Opening{KeyID: [8]byte{1}}
	case KindConfig, KindAuthority:
		c.Loaded = &Loaded{Fault: text(9)}
		for range r.IntN(4) {
			c.Loaded.Files = append(c.Loaded.Files, File{text(9), text(400), Digest{byte(r.IntN(2))}, r.Int64()})
		}
	case KindEra:
		c.Era = &Era{
			Target:      Target{Cluster: text(9), Topic: text(300), TopicID: [16]byte{byte(r.IntN(2))}, Partition: r.Int32()},
			Offset:      r.Int64(),
			LeaderEpoch: r.Int32N(math.MaxInt32) - 1,
			Began:       moment(),
		}
	case KindAdmission:
		a := &Admission{
			Author:    Signer{text(9), text(50), moment()},
			Threshold: r.IntN(9),
			Config:    Digest{byte(r.IntN(2))},
			TrustRoot: Digest{byte(r.IntN(2))},
			Grant: Grant{
				Digest: Digest{byte(r.IntN(2))}, Topics: list(), Functions: list(), Keys: list(), Routes: list(), Audience: list(),
				Limits: Limits{r.Int64(), r.Int64(), math.MaxInt64, 0}, From: moment(), Until: moment(),
			},
			Topics:  list(),
			Imports: list(),
			Until:   moment(),
			Cluster: text(9),
		}
		for range r.IntN(4) {
			a.Approvals = append(a.Approvals, Approval{text(9), text(300), text(64), text(50), moment(), moment(), moment()})
		}

		c.Admission = a
	case KindAdoption, KindReconciliation, KindClock:
		for range r.IntN(4) {
			c.Facts = append(c.Facts, Fact{text(9), text(300)})
		}
	}

	return c
}

func TestControlEntriesReadBackAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 5))
	d := newDict()
	for i := range 2000 {
		want := randomControl(r)
		if err := want.validate(); err != nil {
			t.Fatal(err)
		}

		base := r.Int64N(1 << 52)
		e := encoder{dict: d}
		e.control(want, base)

		if n := len(e.out) + len(e.defs) + 10; n > want.sizeBound() {
			t.Fatalf("entry %d takes %d bytes, over its bound %d", i, n, want.sizeBound())
		}

		var got ControlEntry
		c := cursor{b: e.out[1:], strs: d.strs}
		if err := c.control(&got, want.Kind, base); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if !reflect.DeepEqual(&got, want) {
			t.Fatalf("entry %d:\n got %+v\nwant %+v", i, got, *want)
		}
	}
}

func TestFactsStandInEntriesOfTheirKindOnly(t *testing.T) {
	for name, c := range map[string]ControlEntry{
		"admission":          {Kind: KindConfig, Admission: &Admission{}},
		"loaded":             {Kind: KindAdmission, Loaded: &Loaded{}},
		"opening":            {Kind: KindStart, Opening: Opening{KeyID: [8]byte{1}}},
		"facts":              {Kind: KindStart, Facts: []Fact{{"a", "b"}}},
		"no such kind":       {Kind: 31},
		"negative limit":     {Kind: KindAdmission, Admission: &Admission{Grant: Grant{Limits: Limits{Instances: -1}}}},
		"negative threshold": {Kind: KindAdmission, Admission: &Admission{Threshold: -1}},
		"era":                {Kind: KindConfig, Era: &Era{}},
		"no era":             {Kind: KindEra},
		"negative offset":    {Kind: KindEra, Era: &Era{Offset: -1}},
		"negative partition": {Kind: KindEra, Era: &Era{Target: Target{Partition: -1}}},
		"negative epoch":     {Kind: KindEra, Era: &Era{LeaderEpoch: -2}},
		"greatest epoch":     {Kind: KindEra, Era: &Era{LeaderEpoch: math.MaxInt32}},
		"negative revision":  {Kind: KindConfig, Loaded: &Loaded{Files: []File{{Revision: -1}}}},
		"another's kind":     {Kind: KindStanding},
	} {
		if err := c.validate(); !errors.Is(err, ErrInvalidEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzControlEntry(f *testing.F) {
	d := newDict()
	for i := range 30 {
		want := randomControl(rand.New(rand.NewPCG(uint64(i), 6)))
		e := encoder{dict: d}
		e.control(want, 77)
		f.Add(byte(want.Kind), e.out[1:])
	}

	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		k := Kind(kind) % kindBind
		if !k.numbered() || k == KindBatch {
			return
		}
		var e, again ControlEntry
		c := cursor{b: b, strs: d.strs}
		if c.control(&e, k, 77) != nil {
			return
		}

		enc := encoder{dict: newDict()}
		enc.control(&e, 77)
		c = cursor{b: enc.out[1:], strs: enc.dict.strs}
		if err := c.control(&again, k, 77); err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%v:\n got %+v\nwant %+v", err, again, e)
		}
	})
}
