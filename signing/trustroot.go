package signing

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/guardlock/guardlock/internal/problem"
)

// MaxTrustRootBytes bounds a trust root file, with room for thousands of keys
// and revocations.
const MaxTrustRootBytes = 4 << 20

type role int

const (
	roleAuthor role = iota
	roleApprover
	roles // how many there are
)

func (r role) other() role { return roleApprover - r }

func (r role) list() string { return [roles]string{"authors", "approvers"}[r] }

// TrustRoot says whose keys are trusted for what, how many people must approve,
// and what is revoked. It is immutable; For makes another one of it.
type TrustRoot struct {
	raw       []byte
	digest    [32]byte
	threshold int
	keys      [roles]map[string]*trustedKey // by key ID
	revoked   revocations
	gateway   Gateway // whom it is asked for
}

// trustedKey is a key of the trust root with its owner and the time for which
// it counts.
type trustedKey struct {
	owner               Identity
	public              *PublicKey
	notBefore, notAfter time.Time // zero: open
	verifier            *verify.Verifier
	material            root.TrustedMaterial
}

type revocations struct {
	digests   map[[32]byte]bool // modules and configurations
	keys      map[string]bool
	approvals map[string]bool
}

// trustFile is the file as it is written by hand, in YAML or JSON.
// ParseTrustRoot checks it and makes a TrustRoot of it.
type trustFile struct {
	Authors   []trustEntry `yaml:"authors"`
	Approvers []trustEntry `yaml:"approvers"`
	// Threshold is how many distinct people must approve; default 1.
	Threshold *int `yaml:"threshold"`
	Revoked   struct {
		Digests   []string `yaml:"digests"`   // SHA-256 of modules or configurations, hex
		Keys      []string `yaml:"keys"`      // key IDs
		Approvals []string `yaml:"approvals"` // approval IDs
	} `yaml:"revoked"`
}

// trustEntry is one person's key as it is written in the file.
type trustEntry struct {
	Identity  string     `yaml:"identity"`
	Key       string     `yaml:"key"`        // PEM
	NotBefore *time.Time `yaml:"not_before"` // default: no beginning
	NotAfter  *time.Time `yaml:"not_after"`  // default: no end
}

// ParseTrustRoot reads a trust root in YAML or JSON. Unknown fields are errors.
// Everything wrong is reported at once, as a problem.List.
func ParseTrustRoot(raw []byte) (*TrustRoot, error) {
	if len(raw) > MaxTrustRootBytes {
		return nil, fmt.Errorf("parsing trust root: %w", ErrTooLarge)
	}
	var f trustFile
	err := problem.DecodeYAML(raw, &f)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("parsing trust root: the file is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("parsing trust root: %w", err)
	}

	t := &TrustRoot{
		raw:       raw,
		digest:    sha256.Sum256(raw),
		threshold: 1,
		gateway:   Gateway{ClockSkew: DefaultClockSkew},
	}

	var ps problem.List
	people := map[string]Identity{} // by lower-cased identity
	t.keys[roleAuthor] = readEntries(&ps, roleAuthor, f.Authors, people)
	t.keys[roleApprover] = readEntries(&ps, roleApprover, f.Approvers, people)
	sharedKeys(&ps, t)

	if f.Threshold != nil {
		t.threshold = *f.Threshold
	}
	if n := len(t.Approvers()); t.threshold < 1 {
		ps.Add("threshold", "must be at least 1")
	} else if t.threshold > n && len(ps) == 0 {
		ps.Add("threshold", "asks for %d people, but only %d can approve", t.threshold, n)
	}

	t.revoked = readRevocations(&ps, f)
	if len(ps) != 0 {
		return nil, fmt.Errorf("parsing trust root: %w", ps.Locate(raw))
	}

	return t, nil
}

// readEntries reads the keys of one role, and notes everything wrong with each
// entry.
func readEntries(ps *problem.List, r role, entries []trustEntry, people map[string]Identity) map[string]*trustedKey {
	keys := make(map[string]*trustedKey, len(entries))
	if len(entries) == 0 {
		ps.Add(r.list(), "must list at least one key")
	}

	for i, e := range entries {
		at := fmt.Sprintf("%s[%d]", r.list(), i)
		checkPerson(ps, at, e.Identity, people)
		key, err := e.trusted()
		if err != nil {
			ps.Add(at+".key", "%v", err)
			continue
		}

		if !key.notAfter.IsZero() && !key.notBefore.Before(key.notAfter) {
			ps.Add(at+".not_after", "must be later than not_before")
		}
		if keys[key.public.ID()] != nil {
			ps.Add(at+".key", "is listed twice")
		}

		keys[key.public.ID()] = key
	}

	return keys
}

const identityRule = "must be 1 to 256 letters, digits or any of . _ @ + : / -"

// checkPerson refuses spellings that differ only in case, which would let one
// person count as two.
func checkPerson(ps *problem.List, at, identity string, people map[string]Identity) {
	if !isIdentity(identity) {
		ps.Add(at+".identity", "%s", identityRule)
		return
	}

	folded := strings.ToLower(identity)
	if was, ok := people[folded]; ok && was != Identity(identity) {
		ps.Add(at+".identity", "differs from %s only in case: spell one person one way", was)
		return
	}

	people[folded] = Identity(identity)
}

// sharedKeys refuses a key that two people hold: a signature would not tell
// which of them made it, and an author could approve under another name.
func sharedKeys(ps *problem.List, t *TrustRoot) {
	for id, a := range t.keys[roleAuthor] {
		if b := t.keys[roleApprover][id]; b != nil && a.owner != b.owner {
			ps.Add("approvers", "%s and %s have the same key: one key belongs to one person", a.owner, b.owner)
		}
	}
}

// trusted makes a key ready to verify with. Everything is prepared here, once,
// since verifying happens again and again.
func (e trustEntry) trusted() (*trustedKey, error) {
	pub, err := ParsePublicKey([]byte(e.Key))
	if err != nil {
		return nil, err
	}

	var from, until time.Time
	if e.NotBefore != nil {
		from = *e.NotBefore
	}
	if e.NotAfter != nil {
		until = *e.NotAfter
	}

	return pub.trusted(Identity(e.Identity), from, until)
}

// trusted is the key as one that verifies, owner's for as long as is said; zero is
// open.
func (k *PublicKey) trusted(owner Identity, from, until time.Time) (*trustedKey, error) {
	v, err := signature.LoadVerifier(k.key, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("loading key: %w", err)
	}
	material := root.NewTrustedPublicKeyMaterialFromMapping(map[string]*root.ExpiringKey{
		k.ID(): root.NewExpiringKey(v, from, until),
	})

	// Long-lived keys, no transparency log: there is no trusted time in the
	// bundle, and validAt checks the window against the caller's clock.
	verifier, err := verify.NewVerifier(material, verify.WithNoObserverTimestamps())
	if err != nil {
		return nil, fmt.Errorf("making verifier: %w", err)
	}

	return &trustedKey{
		owner:     owner,
		public:    k,
		notBefore: from,
		notAfter:  until,
		verifier:  verifier,
		material:  material,
	}, nil
}

// validAt reports whether the key may be used at now. What it was compared with
// is noted in now, since the answer changes there.
func (k *trustedKey) validAt(now *moment) bool {
	return now.began(k.notBefore) && (k.notAfter.IsZero() || !now.reached(k.notAfter))
}

// readRevocations reads what is revoked. A digest or id of the wrong form is an
// error: it would revoke nothing.
func readRevocations(ps *problem.List, f trustFile) revocations {
	r := revocations{map[[32]byte]bool{}, map[string]bool{}, map[string]bool{}}
	for i, s := range f.Revoked.Digests {
		d, err := parseDigest(strings.TrimPrefix(s, "sha256:"))
		if err != nil {
			ps.Add(fmt.Sprintf("revoked.digests[%d]", i), "%v", err)
		}
		r.digests[d] = true
	}

	for i, s := range f.Revoked.Keys {
		if b, err := base64.StdEncoding.Strict().DecodeString(s); err != nil || len(b) != sha256.Size {
			ps.Add(fmt.Sprintf("revoked.keys[%d]", i), "must be a key ID: base64 of the SHA-256 of the public key")
		}
		r.keys[s] = true
	}

	for i, s := range f.Revoked.Approvals {
		s = strings.TrimPrefix(s, "sha256:")
		if _, err := parseDigest(s); err != nil {
			ps.Add(fmt.Sprintf("revoked.approvals[%d]", i), "%v", err)
		}
		r.approvals[s] = true
	}

	return r
}

// Revoked is what the trust root revokes: lines of "digest", "key" or "approval" and
// what is revoked, in their order.
func (t *TrustRoot) Revoked() []string {
	var lines []string
	for d := range t.revoked.digests {
		lines = append(lines, "digest "+hex.EncodeToString(d[:]))
	}
	for id := range t.revoked.keys {
		lines = append(lines, "key "+id)
	}
	for id := range t.revoked.approvals {
		lines = append(lines, "approval "+id)
	}

	slices.Sort(lines)
	return lines
}

// Digest is the SHA-256 of the file that the trust root was parsed from, by
// which the decision log names it.
func (t *TrustRoot) Digest() [32]byte { return t.digest }

// Source is the text that the trust root was read from. It must not be changed.
func (t *TrustRoot) Source() []byte { return t.raw }

// Threshold is how many distinct people must approve a module before it counts
// as approved.
func (t *TrustRoot) Threshold() int { return t.threshold }

// Approvers returns the people who may approve, sorted, each once however many
// keys they have.
func (t *TrustRoot) Approvers() []Identity { return t.people(roleApprover) }

// Authors returns the people who may sign modules, sorted, each once however
// many keys they have.
func (t *TrustRoot) Authors() []Identity { return t.people(roleAuthor) }

func (t *TrustRoot) people(r role) []Identity {
	set := make(map[Identity]bool)
	for _, k := range t.keys[r] {
		set[k.owner] = true
	}
	return sortedKeys(set)
}
