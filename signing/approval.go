package signing

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/guardlock/guardlock/internal/problem"
)

// Limits bound what a module may use. Zero means the gateway's default; a
// grant's limits are ceilings, which policy can lower further.
type Limits struct {
	MemoryBytes int64 `json:"memory_bytes,omitempty"`
	DeadlineMS  int64 `json:"deadline_ms,omitempty"` // per call, milliseconds
	OutputBytes int64 `json:"output_bytes,omitempty"`
	Instances   int64 `json:"instances,omitempty"`
}

// Approval is one person's statement that a module, with exactly one
// configuration, may run on some topics with some means for some time.
type Approval struct {
	ModuleDigest  [32]byte // SHA-256 of the module
	ConfigDigest  [32]byte // SHA-256 of the configuration file's bytes
	Topics        []string // patterns; '*' stands for any run of characters
	HostFunctions []string // as "guardlock_crypto.sha256"
	Keys          []string // names; a guest's key handle is the index here
	Routes        []string // topics that records may go to; indexed like Keys
	Limits        Limits
	Audience      []string  // gateways that it is for, as "environment:staging"; empty: any
	NotBefore     time.Time // zero: no beginning
	NotAfter      time.Time // required
	Ticket        string    // the approver's own reference
	Approver      Identity  // when approving: an optional claim; when verified: the key's owner

	// ID is the SHA-256, in hex, of the signed statement: what a revocation
	// names. Set by VerifyApproval only.
	ID string
}

// GrantDigest is the digest of what is granted, canonically: approvals with
// equal digests grant the same. Topics and host functions are sets. Keys and
// routes are lists, because guests address them by index. Who approved, why and
// for how long is not part of it: times are checked approval by approval. The
// audience is left out when there is none, as it was before there was any.
func (a Approval) GrantDigest() [32]byte {
	canonical, err := json.Marshal(struct {
		Version                             int
		Module, Config                      string
		Topics, HostFunctions, Keys, Routes []string
		Limits                              Limits
		Audience                            []string `json:",omitempty"`
	}{
		1, hex.EncodeToString(a.ModuleDigest[:]), hex.EncodeToString(a.ConfigDigest[:]),
		sorted(a.Topics), sorted(a.HostFunctions), orEmpty(a.Keys), orEmpty(a.Routes), a.Limits, sorted(a.Audience),
	})
	if err != nil {
		panic("signing: encoding strings and integers failed: " + err.Error())
	}

	return sha256.Sum256(canonical)
}

const maxListed = 256 // entries in any list of a grant

// shape is the form that the entries of a list must have, and how an error
// describes it to whoever wrote the list.
type shape struct {
	fits func(string) bool
	says string
}

// isTopic accepts Kafka's topic names: at most 249 letters, digits, '.', '_'
// and '-'. Names of other kinds follow the same rule, each with its own extra
// characters and length.
func isTopic(s string) bool    { return spelled(s, "._-", 249) }
func isPattern(s string) bool  { return spelled(s, "._-*", 249) }
func isKeyName(s string) bool  { return spelled(s, "._-", 64) }
func isIdentity(s string) bool { return spelled(s, "._@+:/-", 256) }

// isAudience accepts the name of a gateway, "gateway:NAME", or of an
// environment of gateways, "environment:NAME".
func isAudience(s string) bool {
	kind, name, _ := strings.Cut(s, ":")
	return (kind == "gateway" || kind == "environment") && spelled(name, "._-", 64)
}

// isFunction accepts a host function as a WebAssembly import names it,
// "module.name", in lower case.
func isFunction(s string) bool {
	module, name, ok := strings.Cut(s, ".")
	return ok && s == strings.ToLower(s) && spelled(module, "_", 64) && spelled(name, "_", 64)
}

// isReference accepts one short line of text, possibly empty: approvals are
// shown on terminals, where control characters could hide what is approved.
func isReference(s string) bool {
	return len(s) <= 256 && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// spelled reports whether s is 1 to limit ASCII letters, digits and bytes of
// extra. Nothing beyond ASCII is allowed, since two names that look alike must
// be the same.
func spelled(s, extra string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		letter := r|0x20 >= 'a' && r|0x20 <= 'z'
		digit := r >= '0' && r <= '9'
		return r >= utf8.RuneSelf || !letter && !digit && !strings.ContainsRune(extra, r)
	})
}

// problems lists everything for which the approval must be refused, both before
// one is made and after one was read.
func (a Approval) problems() problem.List {
	var ps problem.List
	if len(a.Topics) == 0 {
		ps.Add("topics", "must name at least one topic")
	}

	checkList(&ps, "topics", a.Topics, shape{isPattern, "a topic pattern (letters, digits, '.', '_', '-', '*')"})
	checkList(&ps, "host_functions", a.HostFunctions, shape{isFunction, "a host function such as guardlock_crypto.sha256"})
	checkList(&ps, "keys", a.Keys, shape{isKeyName, "a key name (letters, digits, '.', '_', '-')"})
	checkList(&ps, "routes", a.Routes, shape{isTopic, "a topic name (letters, digits, '.', '_', '-')"})
	checkList(&ps, "audience", a.Audience, shape{isAudience, `"gateway:NAME" or "environment:NAME"`})
	checkLimits(&ps, a.Limits)

	switch {
	case a.NotAfter.IsZero():
		ps.Add("not_after", "is required: an approval must end")
	case !a.NotBefore.Before(a.NotAfter):
		ps.Add("not_after", "must be later than not_before")
	}

	if !isReference(a.Ticket) {
		ps.Add("ticket", "must be one line of at most 256 bytes")
	}
	if a.Approver != "" && !isIdentity(string(a.Approver)) {
		ps.Add("approver", "%s", identityRule)
	}

	return ps
}

// checkList checks the length of a list and the form of its entries, each of
// which may stand there once.
func checkList(ps *problem.List, path string, items []string, s shape) {
	if len(items) > maxListed {
		ps.Add(path, "has %d entries, at most %d", len(items), maxListed)
		return
	}

	seen := make(map[string]bool, len(items))
	for i, it := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if !s.fits(it) {
			ps.Add(at, "must be %s", s.says)
		} else if seen[it] {
			ps.Add(at, "is listed twice")
		}
		seen[it] = true
	}
}

// checkLimits checks that limits are numbers that every JSON tool reads alike.
// Whether they make sense is for policy.
func checkLimits(ps *problem.List, l Limits) {
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"memory_bytes", l.MemoryBytes}, {"deadline_ms", l.DeadlineMS},
		{"output_bytes", l.OutputBytes}, {"instances", l.Instances},
	} {
		// From 2^53 on, JSON tools that use floating point round, so that two
		// of them could read two limits.
		if f.value < 0 || f.value > 1<<53 {
			ps.Add("limits."+f.name, "must be between 0 and 2^53")
		}
	}
}

func sorted[T cmp.Ordered](s []T) []T {
	return orEmpty(slices.Sorted(slices.Values(s)))
}

// orEmpty makes a nil list empty, so that both encode as [] and have the same
// digest.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
