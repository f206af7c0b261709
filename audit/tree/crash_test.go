package tree_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/audit/witness"
	"github.com/guardlock/guardlock/internal/disk/disktest"
)

// Where the parts lie on the disk in memory: the witness has a machine of its own, which
// crashes with the gateway's here.
const (
	crashTree    = "/gateway/tree"
	crashCopy    = "/elsewhere/checkpoint"
	crashWitness = "/witness/seen"
)

// crash is a log that grows, and a disk that holds the tree over it as it was before the
// last growth. Each run begins with that disk, and fails somewhere.
type crash struct {
	*site
	base   *disktest.Disk
	signer *evidence.WitnessSigner
	url    string
	of     *disktest.Disk // whose witness answers
	whole  bool           // each flavour, with a check of the whole log, which is slow for a large one
	check  bool           // now
}

func newCrash(t *testing.T) *crash {
	t.Helper()
	c := &crash{
		site:   newSite(t, audit.Options{InsecureNoSync: true, SegmentBytes: 8 << 10}),
		base:   disktest.New("/gateway", "/elsewhere", "/witness"),
		signer: evidence.NewWitnessSigner("bank.example/witness", [32]byte{7}),
		whole:  true,
	}

	server := httptest.NewServer(http.HandlerFunc(c.cosign))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// cosign has the witness on the disk of the run answer. The call can fail before the
// witness has it, or when its answer is on the way.
func (c *crash) cosign(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	err := c.of.Op(func() error {
		witness.New(crashWitness, c.signer, []note.Verifier{c.opt.Verifier}).On(c.of).ServeHTTP(answer, r)
		return nil
	})
	if err != nil {
		http.Error(w, "lost", http.StatusBadGateway)
		return
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// grow appends n decisions, durably.
func (c *crash) grow(n int) {
	c.t.Helper()
	for range n {
		c.log.Append(&audit.BatchEntry{
			Caller:  audit.Caller{Principal: "User:alice"},
			Target:  audit.Target{Cluster: "main", Topic: "customers"},
			Payload: audit.Payload{Records: 1},
			Outcome: audit.OutcomePassed,
		}, nil)
	}
	c.flush()
}

// gateway is the committing part of one process.
type gateway struct {
	opt  tree.Options
	tree *tree.Tree
}

func (c *crash) start(d *disktest.Disk) *gateway {
	c.of = d
	opt := c.opt
	opt.Dir = crashTree
	opt.Copies = []string{crashCopy}
	opt.Witnesses = []*witness.Client{witness.NewClient(c.url, &c.signer.Witness)}
	opt.Disk = d
	return &gateway{opt: opt}
}

// commit is what a gateway does each audit.evidence.every: after a failure it reads the
// tree again.
func (c *crash) commit(g *gateway) (err error) {
	if g.tree == nil {
		if g.tree, err = tree.Open(c.t.Context(), c.log.Reader(), g.opt); err != nil {
			g.tree = nil
			return err
		}
	}
	_, err = g.tree.Checkpoint(c.t.Context())
	if err != nil && !errors.Is(err, tree.ErrUnwitnessed) {
		g.tree = nil
	}
	return err
}

// stored is the checkpoint in a file; the zero one where there is none.
func (c *crash) stored(d *disktest.Disk, path string) (checkpoint evidence.Checkpoint, signed []byte) {
	c.t.Helper()
	signed, err := d.Read(path, 1<<20)
	if err != nil {
		return checkpoint, nil
	}
	checkpoint, _, err = evidence.OpenCheckpoint(signed, note.VerifierList(c.opt.Verifier))
	if err != nil {
		c.t.Fatalf("%s holds %q: %v", path, signed, err)
	}
	return checkpoint, signed
}

// serves checks that a gateway goes on from what a crash left: its log is committed to
// as a whole, witnessed and copied, and so is all that was promised before.
func (c *crash) serves(name string, d *disktest.Disk, g *gateway, promised evidence.Checkpoint) {
	c.t.Helper()
	for _, path := range []string{crashTree + "/checkpoint", crashTree + "/witnessed", crashCopy} {
		if left, _ := c.stored(d, path); left.Size < promised.Size {
			c.t.Errorf("%s: %s speaks for %d entries, and %d were promised", name, path, left.Size, promised.Size)
		}
	}

	c.of = d
	if err := c.commit(g); err != nil {
		c.t.Errorf("%s: going on: %v", name, err)
		return
	}
	_, own := c.stored(d, crashTree+"/checkpoint")
	if _, witnessed := c.stored(d, crashTree+"/witnessed"); !bytes.Equal(own, witnessed) {
		c.t.Errorf("%s: the checkpoint is %q, and the last that was witnessed %q", name, own, witnessed)
	}
	if _, copied := c.stored(d, crashCopy); !bytes.Equal(own, copied) || !bytes.Contains(own, []byte("bank.example/witness")) {
		c.t.Errorf("%s: the checkpoint is %q, and its copy %q", name, own, copied)
	}

	p, err := tree.OpenProverOn(d, crashTree, c.log.Reader())
	if err != nil {
		c.t.Errorf("%s: %v", name, err)
		return
	}
	if err := p.Contains(c.t.Context(), promised); promised.Size > 0 && err != nil {
		c.t.Errorf("%s: what was promised: %v", name, err)
	}
	if !c.check {
		return
	}
	if n, err := p.Check(c.t.Context()); err != nil || n != p.Checkpoint().Size || n != g.tree.Size() {
		c.t.Errorf("%s: %d of %d entries are proven: %v", name, n, g.tree.Size(), err)
	}
}

// each fails each operation of one commit in turn, in each flavour or one of them, alone
// and as the last of its process, and looks at what goes on.
func (c *crash) each(stage string) {
	c.t.Helper()
	clean := c.base.Killed()
	began := clean.Ops()
	before, _ := c.stored(clean, crashTree+"/checkpoint")
	if err := c.commit(c.start(clean)); err != nil {
		c.t.Fatalf("%s: %v", stage, err)
	}
	total := clean.Ops()

	for at := began + 1; at <= total; at++ {
		faults := []disktest.Fault{{At: at}, {At: at, Flavour: disktest.Persisted}, {At: at, Onwards: true}}
		if !c.whole {
			faults = faults[at%3 : at%3+1]
		}
		for _, fault := range faults {
			d := c.base.Killed()
			d.Inject(fault)
			c.fails(fmt.Sprintf("%s, operation %d of %d, %+v", stage, at, total, fault), d, before)
		}
	}
	c.base = clean
}

// fails commits on a disk that has a fault, and goes on after it.
func (c *crash) fails(name string, d *disktest.Disk, promised evidence.Checkpoint) {
	c.t.Helper()
	g := c.start(d)
	err := c.commit(g)
	d.Inject(disktest.Fault{})
	if errors.Is(err, tree.ErrRolledBack) || errors.Is(err, tree.ErrDamaged) {
		c.t.Fatalf("%s: a log that is whole is refused: %v", name, err)
	}
	if err == nil {
		promised, _ = c.stored(d, crashTree+"/checkpoint")
	}

	left := map[string]*disktest.Disk{
		"killed":         d.Killed(),
		"power cut":      d.PowerCut(nil),
		"some was saved": d.PowerCut(rand.New(rand.NewPCG(uint64(d.Ops()), 1))),
	}
	c.check = false
	for how, d := range left {
		c.serves(name+", "+how, d, c.start(d), promised)
	}

	// A process may be killed before what it wrote is flushed, and the power goes once
	// the next one is at work.
	next := d.Killed()
	again := c.start(next)
	if err := c.commit(again); err != nil {
		c.t.Errorf("%s, killed: %v", name, err)
		return
	}
	newer, _ := c.stored(next, crashTree+"/checkpoint")
	cut := next.PowerCut(nil)
	c.serves(name+", killed, then power cut", cut, c.start(cut), newer)
	c.check = c.whole
	c.serves(name+", alive", d, g, promised)
}

// TestCrashAnywhereKeepsWhatTheTreePromised: whatever step of a checkpoint fails, of its
// files, its copy, the call to its witness or the witness's own files, the gateway goes
// on, and nothing that a checkpoint spoke for is lost.
func TestCrashAnywhereKeepsWhatTheTreePromised(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	c.grow(3)
	c.each("first start")
	c.grow(40)
	c.each("growth")
	c.grow(120) // into another segment
	c.each("another segment")
	c.each("nothing new")
}

// TestCrashAnywhereKeepsTiles: the first tile that is kept is of 65,536 leaves.
func TestCrashAnywhereKeepsTiles(t *testing.T) {
	t.Parallel()
	c := newCrash(t)
	c.whole = false
	c.grow(65_500)
	if err := c.commit(c.start(c.base)); err != nil {
		t.Fatal(err)
	}
	c.grow(100)
	c.each("a full tile")

	c.grow(10)
	c.check = true
	cut := c.base.PowerCut(nil)
	last, _ := c.stored(cut, crashTree+"/checkpoint")
	c.serves("behind the tile", cut, c.start(cut), last)
}

// TestApprovalThatWasKeptOutlastsACrash: an admission names it by then.
func TestApprovalThatWasKeptOutlastsACrash(t *testing.T) {
	id := fmt.Sprintf("%064x", 7)
	keep := func(d *disktest.Disk) error { return tree.ApprovalsOf("/log").On(d).Keep(id, "key", []byte("bundle")) }
	clean := disktest.New("/log")
	if err := keep(clean); err != nil {
		t.Fatal(err)
	}

	for at := 1; at <= clean.Ops(); at++ {
		for _, fault := range []disktest.Fault{{At: at}, {At: at, Flavour: disktest.Persisted}, {At: at, Onwards: true}} {
			d := disktest.New("/log")
			d.Inject(fault)
			err := keep(d)
			d.Inject(disktest.Fault{})
			if err != nil {
				d = d.Killed()
				if err := keep(d); err != nil {
					t.Fatalf("%+v, again: %v", fault, err)
				}
			}

			if b, err := tree.ApprovalsOf("/log").On(d.PowerCut(nil)).Bundle(id, "key"); err != nil || string(b) != "bundle" {
				t.Errorf("%+v: %q is left, %v", fault, b, err)
			}
		}
	}
}
