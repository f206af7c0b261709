package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/reconciling"
)

// errNoManifest is why a look concludes nothing where a manifest is configured and none is
// in force.
var errNoManifest = errors.New("no manifest of the decision logs is in force, so that nothing says which logs there must be (audit.manifest)")

// others are the logs of other gateways that looks for records without a decision read.
type others struct {
	cfg      *config.Config
	all      []reconciling.Log
	ids      []string // of these, in hexadecimal
	keys     [][32]byte
	problems []error // each means that nothing is concluded
}

// openLogs opens the logs of all gateways, this one's included.
func (s *Server) openLogs() (*reconciling.Logs, error) {
	keys, err := s.auditKeys()
	if err != nil {
		return nil, err
	}

	o := openOthers(s.cfg)
	m := s.reloader.manifestInForce()
	if m != nil {
		o.hold(m.Manifest)
	}
	if len(o.problems) > 0 {
		o.close()
		return nil, o.problems[0]
	}

	own := reconciling.Log{Name: s.cfg.File(s.cfg.Audit.Dir), Reader: s.journal.Reader()}
	logs := &reconciling.Logs{
		All:   append([]reconciling.Log{own}, o.all...),
		Keys:  append(keys, o.keys...),
		Close: o.close,
	}
	if m == nil && s.cfg.Audit.Manifest.File != "" {
		logs.Doubt = errNoManifest
	}
	return logs, nil
}

// openOthers opens the logs that the configuration names.
func openOthers(cfg *config.Config) *others {
	o := &others{cfg: cfg}
	for i, file := range cfg.Audit.Reconcile.KeyFiles {
		key, err := disk.ReadKey(cfg.File(file))
		o.keys = append(o.keys, key)
		o.problem(fmt.Sprintf("audit.reconcile.key_files[%d]", i), err)
	}
	for i, dir := range cfg.Audit.Reconcile.Logs {
		if sameDirectory(cfg.File(dir), cfg.File(cfg.Audit.Dir)) {
			continue // one configuration serves all gateways, and names the log of each
		}
		o.problem(fmt.Sprintf("audit.reconcile.logs[%d]", i), o.open(cfg.File(dir)))
	}
	return o
}

// sameDirectory reports whether two paths lead to one directory. A path that leads
// nowhere is left for others to refuse.
func sameDirectory(a, b string) bool {
	at, err := os.Stat(a)
	if err != nil {
		return false
	}
	same, err := os.Stat(b)
	return err == nil && os.SameFile(at, same)
}

func (o *others) problem(where string, err error) {
	if err != nil {
		o.problems = append(o.problems, fmt.Errorf("%s: %w", where, err))
	}
}

// open opens a log, with the audit key beside it if there is one.
func (o *others) open(dir string) error {
	key, err := disk.ReadKey(filepath.Join(filepath.Dir(dir), "audit.key"))
	switch {
	case err == nil:
		o.keys = append(o.keys, key)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}

	r, err := audit.OpenReader(dir)
	if err != nil {
		return err
	}
	id, next, err := r.LogID()
	if err == nil && next == 0 {
		err = errors.New("nothing is in it")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("reading the decision log %s: %w", dir, err), r.Close())
	}

	o.all = append(o.all, reconciling.Log{Name: dir, Reader: r})
	o.ids = append(o.ids, hex.EncodeToString(id[:]))
	return nil
}

func (o *others) close() {
	for _, log := range o.all {
		log.Close()
	}
}

// hold demands that the logs are just those that a manifest lists: one that is missing
// looks like records that went around it. Those that the configuration does not name are
// looked for where the manifest says. The gateway's own was held against it before.
func (o *others) hold(m *manifest.Manifest) {
	listed := make(map[string]bool)
	for _, g := range m.Gateways {
		listed[g.ID] = true
		if g.Name != o.cfg.Node {
			o.find(g.Name, &g.Log)
		}
		for i := range g.Former {
			listed[g.Former[i].ID] = true
			o.find(g.Name, &g.Former[i])
		}
	}

	for i, id := range o.ids {
		if !listed[id] {
			o.problems = append(o.problems, fmt.Errorf("the log in %s has the id %s, which is not in the manifest of the decision logs", o.all[i].Name, id))
		}
	}
}

// find finds one log of the manifest, and demands that it is that of its key.
func (o *others) find(gateway string, log *manifest.Log) {
	at := slices.Index(o.ids, log.ID)
	if at < 0 && log.Lost != "" {
		return
	}
	if at < 0 && log.Dir != "" {
		dir := log.Dir
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(filepath.Dir(manifestPath(o.cfg)), dir)
		}
		if err := o.open(dir); err != nil {
			o.problem(fmt.Sprintf("the log of gateway %s, which is where the manifest of the decision logs says", gateway), err)
			return
		}
		at = slices.Index(o.ids, log.ID)
	}

	if at < 0 {
		o.problems = append(o.problems, fmt.Errorf("the manifest of the decision logs lists log %s of gateway %s, and neither audit.reconcile.logs nor its dir has a directory of it", log.ID, gateway))
		return
	}
	o.problem(fmt.Sprintf("the log in %s is not shown to be that of %s", o.all[at].Name, gateway), signedAsListed(log, o.all[at]))
}

// signedAsListed demands that the last checkpoint of a log is signed by the key that the
// manifest has for it: anybody can make up a log with an id.
func signedAsListed(listed *manifest.Log, log reconciling.Log) error {
	key, err := note.NewVerifier(listed.Key)
	if err != nil {
		return fmt.Errorf("the manifest's key: %w", err)
	}
	prover, err := tree.OpenProver(filepath.Join(log.Name, tree.DirName), log.Reader)
	if err != nil {
		return err
	}
	_, _, err = evidence.OpenCheckpoint([]byte(prover.Signed()), note.VerifierList(key))
	return err
}
