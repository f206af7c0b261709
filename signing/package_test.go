package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func (w *world) packaged(approvals ...[]byte) Package {
	return Package{Wasm: wasm(), Config: config(), Signature: w.signed(w.ada), Approvals: approvals}
}

func TestPackageIsVerified(t *testing.T) {
	w := newWorld(t)
	v, err := w.root(2).VerifyPackage(t.Context(), w.packaged(w.approved(w.bob), w.approved(w.eve)), noon())
	if err != nil {
		t.Fatal(err)
	}
	if v.Author != "ada" || !slices.Equal(v.Approvers, []Identity{"bob", "eve"}) {
		t.Errorf("got %+v", v)
	}
	if v.Digest != sha256.Sum256(wasm()) || v.ConfigDigest != sha256.Sum256(config()) || v.GrantDigest != approval().GrantDigest() {
		t.Errorf("digests of %+v", v)
	}
	if v.Grant.Approver != "" || !slices.Equal(v.Grant.Topics, approval().Topics) {
		t.Errorf("grant %+v", v.Grant)
	}
}

func TestPackageRefusals(t *testing.T) {
	w := newWorld(t)
	wider := func(a *Approval) { a.Topics = []string{"*"} }
	ended := func(a *Approval) { a.NotAfter = noon() }
	conf := sha256.Sum256([]byte("changed"))
	for name, c := range map[string]struct {
		threshold int
		pkg       Package
		edit      func(*rootDoc)
		want      []error
	}{
		"no approval":                {1, w.packaged(), nil, []error{ErrUnapproved}},
		"no signature":               {1, Package{Wasm: wasm(), Config: config(), Approvals: [][]byte{w.approved(w.bob)}}, nil, []error{ErrUnsigned}},
		"one of two":                 {2, w.packaged(w.approved(w.bob)), nil, []error{ErrThreshold}},
		"same approval twice":        {2, w.packaged(w.approved(w.bob), w.approved(w.bob)), nil, []error{ErrThreshold, ErrApproverTwice}},
		"same approver, two keys":    {2, w.packaged(w.approved(w.bob), w.approved(w.bob2)), nil, []error{ErrThreshold, ErrApproverTwice}},
		"author approves":            {1, Package{Wasm: wasm(), Config: config(), Signature: w.signed(w.zoe), Approvals: [][]byte{w.approved(w.zoe)}}, nil, []error{ErrThreshold, ErrAuthorApproved}},
		"wider grant by one":         {2, w.packaged(w.approved(w.bob), w.approved(w.eve, wider)), nil, []error{ErrThreshold, ErrGrantsDiffer}},
		"two grants, enough for two": {1, w.packaged(w.approved(w.bob), w.approved(w.eve, wider)), nil, []error{ErrGrantsDiffer}},
		"two grants by one":          {1, w.packaged(w.approved(w.bob), w.approved(w.bob, wider)), nil, []error{ErrGrantsDiffer}},
		"expired":                    {1, w.packaged(w.approved(w.bob, ended)), nil, []error{ErrThreshold, ErrExpired}},
		"changed configuration":      {1, Package{Wasm: wasm(), Config: []byte("changed"), Signature: w.signed(w.ada), Approvals: [][]byte{w.approved(w.bob)}}, nil, []error{ErrThreshold, ErrConfigChanged}},
		"revoked configuration":      {1, Package{Wasm: wasm(), Config: []byte("changed"), Signature: w.signed(w.ada), Approvals: [][]byte{w.approved(w.bob)}}, func(d *rootDoc) { d.Revoked.Digests = []string{hex.EncodeToString(conf[:])} }, []error{ErrRevoked}},
		"revoked approver key":       {1, w.packaged(w.approved(w.bob)), func(d *rootDoc) { d.Revoked.Keys = []string{w.bob.ID()} }, []error{ErrThreshold, ErrRevoked}},
		"too many":                   {1, w.packaged(slices.Repeat([][]byte{{}}, MaxApprovals+1)...), nil, []error{ErrTooLarge}},
		"large configuration":        {1, Package{Wasm: wasm(), Config: make([]byte, MaxConfigBytes+1)}, nil, []error{ErrTooLarge}},
	} {
		t.Run(name, func(t *testing.T) {
			root := w.root(c.threshold, func(d *rootDoc) {
				if c.edit != nil {
					c.edit(d)
				}
			})

			v, err := root.VerifyPackage(t.Context(), c.pkg, noon())
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}

			if v.Author != "" || v.Grant.Topics != nil {
				t.Errorf("refused, yet %+v", v)
			}
		})
	}
}

func TestUselessApprovalsBesideEnoughGoodOnesDoNoHarm(t *testing.T) {
	w := newWorld(t)
	ended := func(a *Approval) { a.NotAfter = noon() }
	wider := func(a *Approval) { a.Topics = []string{"*"} }
	pkg := w.packaged(w.approved(w.bob, ended), w.approved(w.bob), w.approved(w.zoe, wider), []byte("junk"), w.approved(w.eve))

	v, err := w.root(2).VerifyPackage(t.Context(), pkg, noon())
	if err != nil || v.GrantDigest != approval().GrantDigest() {
		t.Errorf("got %+v, %v", v, err)
	}
}

// A grant ends with the first approval that it was judged with, though enough are
// left: without that one it is another question, for instance to a policy that wants
// two people.
func TestAGrantEndsWhenThoseWhoCountChange(t *testing.T) {
	w := newWorld(t)
	until := func(d time.Duration) func(*Approval) {
		return func(a *Approval) { a.NotAfter = noon().Add(d) }
	}

	later := func(a *Approval) {
		a.NotBefore = noon().Add(30 * time.Minute)
		a.NotAfter = noon().Add(9 * time.Hour)
	}

	pkg := w.packaged(w.approved(w.bob, until(3*time.Hour)), w.approved(w.eve, until(time.Hour)), w.approved(w.zoe, until(2*time.Hour), later))
	root := w.root(1).For(Gateway{}) // whose clock is right
	for _, c := range []struct {
		at         time.Duration
		approvers  string
		end, until time.Duration
	}{
		{0, "[bob eve]", time.Hour, 30 * time.Minute},
		{30 * time.Minute, "[bob eve zoe]", time.Hour, time.Hour},
		{time.Hour, "[bob zoe]", 3 * time.Hour, 3 * time.Hour},
		{3 * time.Hour, "[zoe]", 9 * time.Hour, 9 * time.Hour},
	} {
		v, err := root.VerifyPackage(t.Context(), pkg, noon().Add(c.at))
		if err != nil || fmt.Sprint(v.Approvers) != c.approvers || !v.Grant.NotAfter.Equal(noon().Add(c.end)) || !v.Until.Equal(noon().Add(c.until)) {
			t.Errorf("after %v: %v until %v, the same until %v; %v", c.at, v.Approvers, v.Grant.NotAfter, v.Until, err)
		}
		if v.From.After(noon().Add(c.at)) || len(v.Counted) != len(v.Approvers) {
			t.Errorf("after %v: the same from %v, counted %+v", c.at, v.From, v.Counted)
		}
	}

	if _, err := root.VerifyPackage(t.Context(), pkg, noon().Add(9*time.Hour)); !errors.Is(err, ErrExpired) {
		t.Errorf("at the last end: %v", err)
	}
}

func TestAGrantEndsWithTheKeysThatItWasJudgedBy(t *testing.T) {
	w := newWorld(t)
	pkg := w.packaged(w.approved(w.bob), w.approved(w.eve))
	end := noon().Add(time.Minute)
	for name, ended := range map[string]func(*rootDoc){
		"the author's":  func(d *rootDoc) { d.Authors[0].NotAfter = end.Format(time.RFC3339) },
		"an approver's": func(d *rootDoc) { d.Approvers[2].NotAfter = end.Format(time.RFC3339) },
	} {
		root := w.root(2, ended)
		v, err := root.VerifyPackage(t.Context(), pkg, noon())
		if err != nil || !v.Grant.NotAfter.Equal(end) || !v.Until.Equal(end) {
			t.Errorf("%s key: the grant ends %v, the same until %v, %v", name, v.Grant.NotAfter, v.Until, err)
		}

		v, err = root.VerifyPackage(t.Context(), pkg, end)
		if !errors.Is(err, ErrKeyExpired) || !v.From.Equal(end) {
			t.Errorf("%s key at its end: from %v, %v", name, v.From, err)
		}
	}
}

func BenchmarkVerifyPackage(b *testing.B) {
	w := newWorld(b)
	root := w.root(2)
	pkg := w.packaged(w.approved(w.bob), w.approved(w.eve))
	b.ReportAllocs()

	for b.Loop() {
		if _, err := root.VerifyPackage(b.Context(), pkg, noon()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyModule(b *testing.B) {
	w := newWorld(b)
	root := w.root(1)
	big := make([]byte, 1<<20)

	sig, err := SignModule(b.Context(), big, w.ada)
	if err != nil {
		b.Fatal(err)
	}

	b.SetBytes(int64(len(big)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := root.VerifyModule(b.Context(), big, sig); err != nil {
			b.Fatal(err)
		}
	}
}
