// Package manifest is the list of a cluster's gateways and their decision logs, signed
// by people whom the trust root names. Whoever reads logs learns from it which there
// must be: without it, one that is missing looks like one that never was.
//
// # Format
//
// A file in YAML:
//
//	cluster: payments
//	revision: 3
//	gateways:
//	  - name: gw-a
//	    log_id: 5c3a91f0a7b1c2d3
//	    log_key: guardlock/gw-a/0011+1a2b3c4d+AbCd...
//	    dir: gw-a/audit
//	    former:
//	      - log_id: 00112233aabbccdd
//	        log_key: guardlock/gw-a/22ff+...
//	        lost: disk failed on 2030-01-15, INC-812
//
// A log id is what a log has drawn for itself at its beginning, and each of its segments
// names. A log key is the public half of the key that signs its checkpoints, itself and
// not the name of a file, since the signature is to cover it. Former logs are those that
// `guardlock audit adopt` set aside. One that is lost, and only such a one, may be
// missing where logs are read. A file without cluster is a plain list: of names and
// directories, perhaps with files of log keys. It has no revision, and cannot be signed.
//
// # Signatures
//
// Each signer's is a file beside it, FILE.SIGNER.sigstore.json: a Sigstore bundle with
// a message signature over the file's bytes, as cosign verifies and makes it. As many of
// the trust root's approvers must have signed as must approve a module.
//
// # Trust
//
// The file is hostile until Verify returned. What it then proves is that the signers
// said that these, and no other, are the cluster's gateways and logs. That somebody has
// an old revision, the file cannot tell; logs can, which name the one that was in force.
// Directories are covered by the signature as all
// the rest, and are only hints where to look: what counts is the id and the key of the
// log that is found there.
package manifest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/internal/problem"
	"github.com/guardlock/guardlock/signing"
)

// MaxBytes bounds the file, and each of its signatures.
const MaxBytes = 1 << 20

// Role is that of the manifest among the files which a gateway's log says are in force.
const Role = "manifest"

var (
	// ErrPlain means that a file without cluster was to be signed, or to be verified.
	ErrPlain = errors.New("it is a plain list of directories without cluster, revision and log ids: `guardlock audit manifest make` writes one that can be signed")
	// ErrUnsigned means that there is no signature beside the file.
	ErrUnsigned = errors.New("nobody signed it: `guardlock audit manifest sign`")
	// ErrNotListed means that a gateway and its log are not in the manifest as they are.
	ErrNotListed = errors.New("not as the manifest has it")
)

// Manifest is a file that makes sense. Nothing in it is vouched for before Verify.
type Manifest struct {
	Cluster  string    `yaml:"cluster,omitempty"`
	Revision int64     `yaml:"revision,omitempty"`
	Gateways []Gateway `yaml:"gateways"`

	raw []byte
}

// Gateway is one of the cluster, with the log that it writes and those before it.
type Gateway struct {
	Name   string `yaml:"name"`
	Log    `yaml:",inline"`
	Former []Log `yaml:"former,omitempty"`
}

// Log is one decision log.
type Log struct {
	ID   string `yaml:"log_id,omitempty"`  // in hexadecimal
	Key  string `yaml:"log_key,omitempty"` // of its checkpoints; in a plain list a file's name
	Dir  string `yaml:"dir,omitempty"`
	Lost string `yaml:"lost,omitempty"` // why a former one is not there any more
}

// Placed is a log with its place in a manifest.
type Placed struct {
	*Log
	Gateway string
	Former  bool
}

// Logs lists the logs of a manifest, each gateway's own before its former ones.
func (m *Manifest) Logs() (all []Placed) {
	for i := range m.Gateways {
		g := &m.Gateways[i]
		all = append(all, Placed{&g.Log, g.Name, false})
		for n := range g.Former {
			all = append(all, Placed{&g.Former[n], g.Name, true})
		}
	}
	return all
}

// Parse reads a manifest or a plain list. Unknown fields are errors. Everything wrong is
// reported at once, as a problem.List.
func Parse(raw []byte) (*Manifest, error) {
	m := &Manifest{raw: raw}
	err := problem.DecodeYAML(raw, m)
	if errors.Is(err, io.EOF) {
		return nil, errors.New("parsing manifest: the file is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("parsing manifest: %w", err)
	}

	if ps := m.problems(); len(ps) != 0 {
		return nil, fmt.Errorf("parsing manifest: %w", ps.Locate(raw))
	}
	return m, nil
}

// Plain reports whether it is a list that cannot be signed.
func (m *Manifest) Plain() bool { return m.Cluster == "" }

// Digest is the SHA-256 of the file.
func (m *Manifest) Digest() [32]byte { return sha256.Sum256(m.raw) }

// Source is the text of the file. It must not be changed.
func (m *Manifest) Source() []byte { return m.raw }

var (
	nameShape = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)
	idShape   = regexp.MustCompile(`^[0-9a-f]{16}$`)
)

// problems finds everything that is wrong with what was read.
func (m *Manifest) problems() problem.List {
	var c checking
	if len(m.Gateways) == 0 {
		c.Add("gateways", "names none")
	}
	if !m.Plain() && !nameShape.MatchString(m.Cluster) {
		c.Add("cluster", "%q must be 1 to 32 letters, digits, '-' or '_'", m.Cluster)
	}
	if !m.Plain() && m.Revision < 1 {
		c.Add("revision", "must be at least 1, and larger in each that is signed")
	}
	if m.Plain() && m.Revision != 0 {
		c.Add("revision", "is of a manifest with a cluster")
	}

	c.names, c.ids, c.keys = map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i := range m.Gateways {
		c.gateway(fmt.Sprintf("gateways[%d]", i), &m.Gateways[i], m.Plain())
	}
	return c.List
}

// checking is what was met while a manifest is checked.
type checking struct {
	problem.List
	names, ids, keys map[string]bool
}

// gateway checks one. Names that differ in case alone are one: directories of some
// systems cannot tell them apart, and neither can people.
func (c *checking) gateway(at string, g *Gateway, plain bool) {
	folded := strings.ToLower(g.Name)
	if g.Name == "" || c.names[folded] {
		c.Add(at+".name", "needs a name of its own: two gateways must not share one")
	}
	c.names[folded] = true

	if g.Lost != "" {
		c.Add(at+".lost", "is of a former log: `guardlock audit adopt` begins another")
	}
	if plain {
		c.plain(at, g)
		return
	}

	if !nameShape.MatchString(g.Name) {
		c.Add(at+".name", "%q must be 1 to 32 letters, digits, '-' or '_'", g.Name)
	}
	c.log(at, &g.Log)
	for i := range g.Former {
		c.log(fmt.Sprintf("%s.former[%d]", at, i), &g.Former[i])
	}
}

func (c *checking) plain(at string, g *Gateway) {
	if g.Dir == "" {
		c.Add(at+".dir", "is needed")
	}
	if g.ID != "" || len(g.Former) > 0 {
		c.Add(at, "log_id and former are of a manifest with a cluster")
	}
}

// log checks that a log is told from all others by its id, and by its key: with one key
// for two logs, the checkpoint of one would pass for the other's.
func (c *checking) log(at string, l *Log) {
	if !idShape.MatchString(l.ID) {
		c.Add(at+".log_id", "must be 16 hexadecimal digits in lower case, as `guardlock audit manifest make` finds them")
	} else if c.ids[l.ID] {
		c.Add(at+".log_id", "is listed twice")
	}
	c.ids[l.ID] = true

	switch _, err := note.NewVerifier(l.Key); {
	case err != nil:
		c.Add(at+".log_key", "must be a public key itself, what is in log.key.pub, so that the signature covers it: %v", err)
	case strings.ContainsAny(l.Key, "\r\n"): // base64 is read past them: one key would have many texts
		c.Add(at+".log_key", "must be on one line")
	case c.keys[l.Key]:
		c.Add(at+".log_key", "is listed twice")
	}
	c.keys[l.Key] = true
}

// Signed is where the logs of a manifest are told from others: by whom and what it was
// vouched for.
type Signed struct {
	*Manifest
	Signers []signing.Signatory // none: nobody was asked for
	Bundles [][]byte            // those of their signatures, one of each
}

// Verify checks that enough of the trust root's approvers signed the manifest.
func (m *Manifest) Verify(ctx context.Context, root *signing.TrustRoot, bundles [][]byte, now time.Time) (*Signed, error) {
	switch {
	case m.Plain():
		return nil, fmt.Errorf("verifying manifest: %w", ErrPlain)
	case len(bundles) == 0:
		return nil, fmt.Errorf("verifying manifest: %w", ErrUnsigned)
	}

	signers, err := root.VerifyFile(ctx, m.raw, bundles, root.Threshold(), now)
	if err != nil {
		return nil, fmt.Errorf("verifying manifest: %w", err)
	}
	return &Signed{m, signers, m.counting(ctx, root, bundles, now)}, nil
}

// counting are the signatures that count, one of each signer.
func (m *Manifest) counting(ctx context.Context, root *signing.TrustRoot, bundles [][]byte, now time.Time) (all [][]byte) {
	seen := make(map[signing.Identity]bool)
	for _, b := range bundles {
		who, err := root.VerifyFile(ctx, m.raw, [][]byte{b}, 1, now)
		if err == nil && !seen[who[0].Identity] {
			seen[who[0].Identity] = true
			all = append(all, b)
		}
	}
	return all
}

// Names checks that a gateway is listed, whatever log it writes.
func (m *Manifest) Names(name string) error {
	if !slices.ContainsFunc(m.Gateways, func(g Gateway) bool { return g.Name == name }) {
		return fmt.Errorf("the manifest of cluster %s, revision %d, has no gateway %s: %w", m.Cluster, m.Revision, name, ErrNotListed)
	}
	return nil
}

// Has checks that a gateway writes the log that the manifest has for it.
func (m *Manifest) Has(name string, id [8]byte, key string) error {
	var listed *Gateway
	for i := range m.Gateways {
		if m.Gateways[i].Name == name {
			listed = &m.Gateways[i]
		}
	}

	own := hex.EncodeToString(id[:])
	key = strings.TrimSpace(key)
	switch {
	case listed == nil:
		return fmt.Errorf("the manifest of cluster %s, revision %d, has no gateway %s (log %s): %w", m.Cluster, m.Revision, name, own, ErrNotListed)
	case listed.ID != own:
		return fmt.Errorf("the log of gateway %s is %s, and %s in the manifest of cluster %s, revision %d: %w", name, own, listed.ID, m.Cluster, m.Revision, ErrNotListed)
	case listed.Key != key:
		return fmt.Errorf("the log key of gateway %s is %s, and %s in the manifest of cluster %s, revision %d: %w", name, key, listed.Key, m.Cluster, m.Revision, ErrNotListed)
	}
	return nil
}

// Next is a manifest to go on from m with: its revision is one more. The text of it is
// what Encode gives.
func (m *Manifest) Next() *Manifest {
	next := &Manifest{Cluster: m.Cluster, Revision: m.Revision + 1}
	for _, g := range m.Gateways {
		g.Former = slices.Clone(g.Former)
		next.Gateways = append(next.Gateways, g)
	}
	return next
}

// Add has a gateway write a log. Another that it wrote until now becomes a former one,
// whose id is returned. A log that is listed as a former one stays that.
func (m *Manifest) Add(name string, log Log) (former string) {
	at := slices.IndexFunc(m.Gateways, func(g Gateway) bool { return g.Name == name })
	if at < 0 {
		m.Gateways = append(m.Gateways, Gateway{Name: name, Log: log})
		return ""
	}

	g := &m.Gateways[at]
	if g.ID == log.ID {
		g.Key = log.Key
		return ""
	}
	if slices.ContainsFunc(g.Former, func(l Log) bool { return l.ID == log.ID }) {
		return ""
	}

	former = g.ID
	g.Former = append([]Log{g.Log}, g.Former...)
	g.Log = log
	return former
}

// Encode is the text of a manifest.
func (m *Manifest) Encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# The gateways of the cluster and their decision logs: all of them, and no others.\n")
	out := yaml.NewEncoder(&b)
	out.SetIndent(2)
	if err := errors.Join(out.Encode(m), out.Close()); err != nil {
		return nil, fmt.Errorf("encoding manifest: %w", err)
	}

	if _, err := Parse(b.Bytes()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
