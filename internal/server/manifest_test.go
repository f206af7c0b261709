package server

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/audit/objects"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

// listedSite is oneModule with a manifest, which listed writes.
const listedSite = oneModule + "audit: {manifest: {file: cluster.yaml}}\n"

// other is a gateway of the cluster beside the site's.
var other = manifest.Log{ID: "8899aabbccddeeff", Key: logKeyOf()}

func logKeyOf() string {
	_, public, err := note.GenerateKey(rand.Reader, "guardlock/gw/0011")
	if err != nil {
		panic(err)
	}
	return public
}

// newListedSite is a site that has a log, and is in no manifest yet.
func newListedSite(t *testing.T, yaml string) *site {
	t.Helper()
	s := newSite(t, yaml)
	if err := os.MkdirAll(filepath.Join(s.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.r.work.manifest.own = ownLog{[8]byte{1, 2}, logKeyOf()}
	return s
}

// listed writes a manifest of a revision that has this log of the gateway, signed by a key.
func (s *site) listed(revision int64, log manifest.Log, by *signing.PrivateKey) {
	s.t.Helper()
	s.listedAs("payments", revision, log, by)
}

func (s *site) listedAs(cluster string, revision int64, log manifest.Log, by *signing.PrivateKey) {
	s.t.Helper()
	m := &manifest.Manifest{Cluster: cluster, Revision: revision}
	m.Add("other", other)
	m.Add("gateway", log)
	text := must(m.Encode())
	s.write("cluster.yaml.grace.sigstore.json", must(signing.SignArtifact(s.t.Context(), text, by)))
	s.write("cluster.yaml", text)
}

// own is what a manifest must say of the site's log.
func (s *site) own() manifest.Log {
	return manifest.Log{ID: "0102000000000000", Key: s.r.work.manifest.own.key}
}

// inForce is the revision of the manifest that the last entry of a configuration names.
func (s *site) revision() int64 {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	for i := len(s.record.entries) - 1; i >= 0; i-- {
		e := &s.record.entries[i]
		if e.Kind != audit.KindConfig || e.Outcome != "applied" {
			continue
		}
		for _, f := range e.Loaded.Files {
			if f.Role == roleManifest {
				return f.Revision
			}
		}
		return 0
	}
	return -1
}

func TestGatewayWhoseLogIsInNoSignedManifestDoesNotStart(t *testing.T) {
	for name, c := range map[string]struct {
		make func(s *site)
		want error
	}{
		"as it is":    {func(s *site) { s.listed(1, s.own(), s.grace) }, nil},
		"none":        {func(*site) {}, os.ErrNotExist},
		"unsigned":    {func(s *site) { s.listed(1, s.own(), s.grace); s.remove("cluster.yaml.grace.sigstore.json") }, manifest.ErrUnsigned},
		"an author's": {func(s *site) { s.listed(1, s.own(), s.author) }, signing.ErrSignatories},
		"changed since": {func(s *site) {
			s.listed(1, s.own(), s.grace)
			s.write("cluster.yaml", append(s.content("cluster.yaml"), '\n'))
		}, signing.ErrSignatories},
		"another log": {func(s *site) { s.listed(1, manifest.Log{ID: "0102000000000001", Key: s.own().Key}, s.grace) }, manifest.ErrNotListed},
		"another key": {func(s *site) { s.listed(1, manifest.Log{ID: s.own().ID, Key: logKeyOf()}, s.grace) }, manifest.ErrNotListed},
	} {
		s := newListedSite(t, listedSite)
		c.make(s)
		err := s.r.load(t.Context())
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if refused := s.record.has(audit.KindConfig, "guardlock.yaml", "refused", "unreadable"); refused != (c.want != nil) {
			t.Errorf("%s: refused is recorded: %v", name, refused)
		}
		if errors.Is(err, manifest.ErrNotListed) && !strings.Contains(exit.HintOf(err), "guardlock audit manifest make --from") {
			t.Errorf("%s: the hint is %q", name, exit.HintOf(err))
		}
	}
}

func (s *site) remove(name string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

// The log names the manifest that is in force, and its signatures are kept; what comes
// after it changes nothing unless it is in order and newer.
func TestManifestInForceStaysUntilOneIsInOrderAndNewer(t *testing.T) {
	s := newListedSite(t, listedSite)
	s.listed(2, s.own(), s.grace)
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.revision(); got != 2 {
		t.Errorf("revision %d is recorded", got)
	}
	all := s.record.authorities()
	for _, o := range s.snapshotOf(&all[0]).Named() {
		if state, err := s.store().Look(o.Digest); state != objects.Kept || err != nil {
			t.Errorf("%s is %s, %v", o.Role, state, err)
		}
	}

	step := func(what string, want int64, problem string) {
		t.Helper()
		s.look()
		if got := s.revision(); got != want {
			t.Errorf("%s: revision %d, want %d", what, got, want)
		}
		if got := s.r.explain().listed.problem; problem == "" != (got == "") || !strings.Contains(got, problem) {
			t.Errorf("%s: the problem is %q, want %q", what, got, problem)
		}
	}
	s.listed(1, s.own(), s.grace)
	step("an older one", 2, "revision 1 after 2")
	s.listed(2, s.own(), s.grace)
	s.write("cluster.yaml", append([]byte("# changed\n"), s.content("cluster.yaml")...))
	s.write("cluster.yaml.grace.sigstore.json", must(signing.SignArtifact(t.Context(), s.content("cluster.yaml"), s.grace)))
	step("another of the same revision", 2, "another file than the one of this revision")
	s.listed(3, s.own(), s.author)
	step("one that nobody may sign", 2, "too few")
	s.listed(3, manifest.Log{ID: "0102000000000001", Key: s.own().Key}, s.grace)
	step("one without this log", 2, "not as the manifest has it")
	s.remove("cluster.yaml")
	step("none", 2, "cluster.yaml")
	s.listed(3, s.own(), s.grace)
	step("a newer one", 3, "")
	if n := s.says("MANIFEST NOT IN FORCE"); n != 5 {
		t.Errorf("it is told %d times:\n%s", n, s.log.String())
	}

	own := s.r.work.manifest.own
	s.restart()
	s.r.work.manifest.own = own
	s.listed(2, s.own(), s.grace)
	if err := s.r.load(t.Context()); !errors.Is(err, errManifestOlder) {
		t.Errorf("after a restart: got %v", err)
	}
}

// A cluster may get another name. The revision counts on, so that none of the old name that
// is older comes back by way of that.
func TestRevisionCountsOnUnderAnotherName(t *testing.T) {
	s := newListedSite(t, listedSite)
	s.listed(2, s.own(), s.grace)
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}

	for _, step := range []struct {
		cluster  string
		revision int64
		want     int64
	}{
		{"renamed", 1, 2},
		{"renamed", 2, 2},
		{"renamed", 3, 3},
		{"payments", 1, 3},
		{"payments", 2, 3},
	} {
		s.listedAs(step.cluster, step.revision, s.own(), s.grace)
		s.look()
		if got := s.revision(); got != step.want {
			t.Errorf("revision %d of %s: revision %d is in force, want %d", step.revision, step.cluster, got, step.want)
		}
	}
}

// Who signed the manifest can stop to count while nothing of the files changes.
func TestManifestIsJudgedAgainWhenItsSignersMayNotCountAnyMore(t *testing.T) {
	s := newListedSite(t, strings.Replace(listedSite, "modules: [m]", "modules: []", 3))
	s.listed(1, s.own(), s.grace)
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}

	grace := s.grace
	s.grace = must(signing.GenerateKey(rand.Reader))
	s.trust() // now another key is hers
	s.r.lookAtTrust(t.Context())
	s.look()
	if got := s.r.explain().listed; got.problem == "" || got.manifest.Revision != 1 {
		t.Errorf("got %+v", got)
	}

	s.grace = grace
	s.trust()
	s.r.lookAtTrust(t.Context())
	s.look()
	if got := s.r.explain().listed; got.problem != "" {
		t.Errorf("got %+v", got)
	}

	judged := s.r.work.manifest.judged
	s.clock = s.clock.Add(judgeAgainAfter)
	s.look()
	if again := s.r.work.manifest.judged; again.Sub(judged) < time.Minute {
		t.Errorf("judged at %s, and again at %s", judged, again)
	}
}

func TestGatewayThatMayServeUnlistedSaysSo(t *testing.T) {
	s := newListedSite(t, oneModule+"audit: {manifest: {file: cluster.yaml, insecure_unlisted: true}}\n")
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, digest := version("uppercase")
	s.expect("unlisted", digest)
	if s.says("MANIFEST NOT IN FORCE") != 1 || s.revision() != 0 || !s.record.has(audit.KindConfig, "guardlock.yaml", "refused", "unreadable") {
		t.Errorf("revision %d, log:\n%s", s.revision(), s.log.String())
	}

	s.listed(1, s.own(), s.grace)
	s.look()
	if s.revision() != 1 || s.says("the manifest of the decision logs is in force") != 1 {
		t.Errorf("revision %d, log:\n%s", s.revision(), s.log.String())
	}
}
