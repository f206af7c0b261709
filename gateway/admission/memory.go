package admission

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory keeps what was found and decided, over reloads, so that a changed file is
// no reason to ask again what it has nothing to do with. What it keeps is looked up
// by all that was judged, and holds no longer than it said itself. It is safe for
// concurrent use.
type Memory struct {
	mu           sync.Mutex
	by           *Admitter // whose turn it is
	turn         int       // counts Admitters
	examinations map[[32]byte]*remembered[*examination]
	judgements   map[question]*remembered[*judgement]
	lastAllowed  map[seat]allowed
	noted        map[noteKey]note
}

// NewMemory makes a Memory in which nothing was asked yet.
func NewMemory() *Memory {
	return &Memory{
		examinations: map[[32]byte]*remembered[*examination]{},
		judgements:   map[question]*remembered[*judgement]{},
		lastAllowed:  map[seat]allowed{},
		noted:        map[noteKey]note{},
	}
}

// question is all that a judgement is made by. Two modules with the same facts
// at two places that are alike ask one question.
type question struct {
	facts, place [32]byte
	policy       string // revision
}

// seat is a module at a place. Places that are alike to policy are one, so that
// a module that goes on does so on all of them.
type seat struct {
	module string
	place  [32]byte
}

// allowed is the last package that was let in at a seat, and on what judgement:
// what goes on while somebody cannot be asked.
type allowed struct {
	exam   *examination
	judged *judgement
}

// noteKey is what an entry of the log is about, and note what it says. A reload
// that changes neither is no reason for an entry.
type noteKey struct{ cluster, binding, module string }

type note struct {
	asked question
	code  string
	until time.Time

	tables string // that it looks things up in: another file is another fact
}

func noteOf(t trial) (noteKey, note) {
	n := note{asked: t.asked}
	if t.refused != nil {
		n.code = t.refused.Code
	}
	if t.running != nil {
		n.until = t.judged.decision.ValidUntil
		n.tables = strings.Join(t.running.tables, "\n")
	}

	return noteKey{t.cluster, t.binding, t.exam.module.Name}, n
}

// isNoted reports whether the last entry about a module at a binding says the
// same already.
func (m *Memory) isNoted(t trial) bool {
	key, n := noteOf(t)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.noted[key] == n
}

// note remembers the entry that was recorded, once it is durable.
func (m *Memory) note(t trial) {
	key, n := noteOf(t)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noted[key] = n
}

// allow remembers that a package was let in at a seat, in the place of what was
// let in before.
func (m *Memory) allow(d *decided) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastAllowed[d.seat] = allowed{d.exam, d.judged}
}

// last is the package that was let in last at a seat, if there was one since
// the start.
func (m *Memory) last(at seat) (allowed, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.lastAllowed[at]
	return a, ok
}

type remembered[T any] struct {
	what T
	turn int // in which it was last used
}

// begin notes that a asks. What the last two Admitters did not ask is
// forgotten, so that memory follows what is configured.
func (m *Memory) begin(a *Admitter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.by == a {
		return
	}

	m.by = a
	m.turn++
	forget(m.examinations, m.turn-2)
	forget(m.judgements, m.turn-2)
}

func forget[K comparable, T any](all map[K]*remembered[T], before int) {
	for key, r := range all {
		if r.turn < before {
			delete(all, key)
		}
	}
}

func recall[K comparable, T any](m *Memory, all map[K]*remembered[T], key K) (what T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := all[key]
	if !ok {
		return what, false
	}

	r.turn = m.turn
	return r.what, true
}

func remember[K comparable, T any](m *Memory, all map[K]*remembered[T], key K, what T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all[key] = &remembered[T]{what, m.turn}
}

// holds reports whether now lies between two times. Now may be from, not until;
// zero is open.
func holds(from, until, now time.Time) bool {
	return !now.Before(from) && (until.IsZero() || now.Before(until))
}

// packageKey is equal for the same package under the same trust root at the
// same gateway: all that an examination depends on, but the time.
func (a *Admitter) packageKey(m Module) [32]byte {
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.AppendUvarint(nil, uint64(len(b))))
		h.Write(b)
	}

	part([]byte(m.Name))
	trust := a.Trust.Digest()
	part(trust[:])
	part(fmt.Appendf(nil, "%s %+v", a.Node, a.Trust.Gateway()))
	part(m.Package.Wasm)
	part(m.Package.Config)
	part(m.Package.Signature)

	for _, approval := range m.Package.Approvals {
		part(approval)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Tables)) {
		digest := m.Tables[name].Digest()
		part([]byte(name))
		part(digest[:])
	}

	return [32]byte(h.Sum(nil))
}
