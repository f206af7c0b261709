package tree_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/tree"
)

// pair are the logs of two gateways. Each begins to know the partition at an offset, if it
// is not negative, and stores batches of three records at others.
func pair(t *testing.T, eraA, eraB int64, a, b []int64) (*site, *site) {
	t.Helper()
	gwA := newSiteOf(t, "guardlock.test/gw-a", audit.Options{InsecureNoSync: true})
	gwB := newSiteOf(t, "guardlock.test/gw-b", audit.Options{InsecureNoSync: true})
	gwA.store(eraA, a)
	gwB.store(eraB, b)
	return gwA, gwB
}

func (s *site) store(era int64, bases []int64) {
	s.t.Helper()
	s.admit()
	if era >= 0 {
		s.begin(1, 0, era)
	}
	for _, base := range bases {
		s.produce(base)
	}
	s.flush()
	s.checkpoint()
}

// interleaved are two logs of which neither has the whole range.
func interleaved(t *testing.T) (*site, *site) {
	t.Helper()
	return pair(t, -1, -1, []int64{0, 6, 9, 18}, []int64{3, 12, 15, 21})
}

func certifyAll(t *testing.T, w tree.WantedRange, sites ...*site) (*evidence.Certificate, error) {
	t.Helper()
	var logs []tree.RangeLog
	for _, s := range sites {
		logs = append(logs, s.alone()...)
	}
	return tree.ProveRange(t.Context(), w, logs)
}

// TestGatewaysOfOnePartitionGiveOneCertificate, in whatever order their logs are named. A
// log that says nothing of the range is not in it.
func TestGatewaysOfOnePartitionGiveOneCertificate(t *testing.T) {
	a, b := interleaved(t)
	idle := newSiteOf(t, "guardlock.test/gw-c", audit.Options{InsecureNoSync: true})
	idle.store(-1, []int64{90})

	for _, sites := range [][]*site{{a, b}, {b, a}, {b, idle, a}} {
		c, err := certifyAll(t, wantedRange(1, 22), sites...)
		if err != nil {
			t.Fatal(err)
		}
		p, err := verifyRange(t, c, a, b)
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, v := range p.Verdicts {
			total += v.Records
		}
		if len(p.Logs) != 2 || p.Logs[0].Checkpoint.Origin != "guardlock.test/gw-a" || p.Logs[0].Batches != 4 || p.Logs[1].Batches != 4 || p.Batches != 8 || total != 22 {
			t.Errorf("%d records: %+v", total, p)
		}
	}

	one, err := certifyAll(t, wantedRange(6, 11), b, a)
	if err != nil || len(one.Logs) != 1 {
		t.Errorf("%d logs, of which one has the range: %v", len(one.Logs), err)
	}
}

// TestLogThatIsLeftOutLeavesOffsetsWithoutADecision: there is no certificate without it,
// and none with its part taken out.
func TestLogThatIsLeftOutLeavesOffsetsWithoutADecision(t *testing.T) {
	a, b := interleaved(t)
	for says, s := range map[string]*site{
		"gw-a: offsets 3 to 5 have no decision, 12 to 17 have no decision, 21 to 23 have no decision": a,
		"gw-b: offsets 0 to 2 have no decision, 6 to 11 have no decision, 18 to 20 have no decision":  b,
	} {
		if _, err := certifyAll(t, wantedRange(0, 23), s); !errors.Is(err, tree.ErrIncomplete) || !strings.HasSuffix(err.Error(), says) {
			t.Errorf("it says %v; want %s", err, says)
		}
	}

	both, err := certifyAll(t, wantedRange(0, 23), a, b)
	if err != nil {
		t.Fatal(err)
	}
	for i, left := range both.Logs {
		c := *both
		c.Logs = []evidence.Section{left}
		c.Names = nil
		if _, err := verifyRange(t, &c, a, b); !errors.Is(err, evidence.ErrUnproven) || !strings.Contains(err.Error(), "have no decision") {
			t.Errorf("the log %d alone: %v", i, err)
		}
	}
}

func TestOffsetThatTwoLogsHaveIsRefused(t *testing.T) {
	a, b := pair(t, -1, -1, []int64{0, 6}, []int64{3, 8})
	_, err := certifyAll(t, wantedRange(0, 10), a, b)
	if !errors.Is(err, tree.ErrIncomplete) || !strings.HasSuffix(err.Error(), "offsets 8 to 8 have two decisions; 8 to 8 are in guardlock.test/gw-a and in guardlock.test/gw-b") {
		t.Error(err)
	}
	if _, err := certifyAll(t, wantedRange(0, 5), a, a, b); !errors.Is(err, tree.ErrIncomplete) {
		t.Errorf("one log twice: %v", err)
	}
}

// TestEraOfAClusterIsTheEarliest: what one gateway took before the other first saw the
// partition was not there before both.
func TestEraOfAClusterIsTheEarliest(t *testing.T) {
	for name, tc := range map[string]struct {
		eraA, eraB int64
		a, b       []int64
		last       int64
		says       string
	}{
		"both":                  {10, 16, []int64{10, 13, 19}, []int64{16, 22}, 24, ""},
		"the other way":         {16, 10, []int64{16, 22}, []int64{10, 13, 19}, 24, ""},
		"not between the two":   {10, 16, []int64{19}, []int64{16, 22}, 24, "offsets 10 to 15 have no decision"},
		"by a log without more": {10, 16, []int64{90}, []int64{16, 19}, 21, "offsets 10 to 15 have no decision"},
		"one does not know":     {10, -1, []int64{10, 13}, []int64{16, 19}, 21, "offsets 2 to 9 have no decision"},
		"one that is not asked": {10, -1, []int64{10, 13}, []int64{90}, 15, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, tc.eraA, tc.eraB, tc.a, tc.b)
			c, err := certifyAll(t, wantedRange(2, tc.last), a, b)
			if tc.says != "" {
				if !errors.Is(err, tree.ErrIncomplete) || !strings.HasSuffix(err.Error(), tc.says) {
					t.Errorf("it says %v; want %s", err, tc.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p, err := verifyRange(t, c, a, b)
			if err != nil || len(p.Gaps) != 1 || p.Gaps[0] != (evidence.Gap{First: 2, Last: 9, Kind: evidence.GapBeforeEra}) {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

// TestCertificateOfLogsThatClaimsMoreIsRefused: whoever makes certificates has all logs,
// and may leave out what they say, or say it twice.
func TestCertificateOfLogsThatClaimsMoreIsRefused(t *testing.T) {
	a, b := pair(t, 10, 16, []int64{10, 13, 19}, []int64{16, 22})
	stranger := newSiteOf(t, "guardlock.test/gw-b", audit.Options{InsecureNoSync: true})
	stranger.store(16, []int64{16, 22})
	certify := func(first, last int64, sites ...*site) *evidence.Certificate {
		t.Helper()
		c, err := certifyAll(t, wantedRange(first, last), sites...)
		if err != nil {
			t.Fatal(err)
		}
		c.Names = nil
		return c
	}

	for what, change := range map[string]func(*evidence.Certificate){
		"a log twice":                  func(c *evidence.Certificate) { c.Logs = append(c.Logs, c.Logs[1]) },
		"logs out of their order":      func(c *evidence.Certificate) { c.Logs[0], c.Logs[1] = c.Logs[1], c.Logs[0] },
		"no log":                       func(c *evidence.Certificate) { c.Logs = nil },
		"a log that is not trusted":    func(c *evidence.Certificate) { c.Logs[1] = certify(16, 18, stranger).Logs[0] },
		"another log's checkpoint":     func(c *evidence.Certificate) { c.Logs[1].Checkpoint = c.Logs[0].Checkpoint },
		"another log's entries":        func(c *evidence.Certificate) { c.Logs[1].Leaves, c.Logs[1].Digest = c.Logs[0].Leaves, c.Logs[0].Digest },
		"a log without its era":        func(c *evidence.Certificate) { c.Logs[1] = certify(16, 18, b).Logs[0] },
		"an era that no gap needs":     func(c *evidence.Certificate) { c.Gaps = nil; c.Range.First = 10 },
		"the first version":            func(c *evidence.Certificate) { c.Format = evidence.FirstRangeFormat; c.Logs = c.Logs[:1] },
		"a gap between the two eras":   func(c *evidence.Certificate) { c.Gaps[0].Last = 12 },
		"a log that only says its era": func(c *evidence.Certificate) { c.Logs[0] = certify(2, 12, a).Logs[0] },
	} {
		c := certify(2, 18, b, a)
		change(c)
		if _, err := verifyRange(t, c, a, b); !errors.Is(err, evidence.ErrUnproven) {
			t.Errorf("%s: %v", what, err)
		}
	}

	if _, err := verifyRange(t, certify(2, 18, a, b), a); !errors.Is(err, evidence.ErrUnproven) {
		t.Errorf("without the key of one: %v", err)
	}
	if _, err := verifyRange(t, certify(2, 18, a, b), b, a); err != nil {
		t.Error(err)
	}
}

// TestCertificateEnclosesTheAuthoritiesOfItsDecisions, each once: what was in force while
// nothing of the range was decided is not in it, and neither is what a segment repeats.
func TestCertificateEnclosesTheAuthoritiesOfItsDecisions(t *testing.T) {
	s := newSite(t, audit.Options{SegmentBytes: 4 << 10, InsecureNoSync: true})
	s.admit()
	s.produce(0)
	base := int64(3)
	for _, configuration := range []byte{1, 1, 2, 3} { // a gateway that starts again says the same
		s.serveUnder(configuration)
		for range 10 {
			s.produce(base)
			base += 3
		}
	}
	s.serveUnder(9)
	s.flush()
	s.checkpoint()

	for _, tc := range []struct {
		first, last int64
		unserved    int
		decisions   []int // under each configuration, from 1 on
	}{
		{0, base - 1, 1, []int{20, 10, 10}},
		{3, 62, 0, []int{20}},
		{60, 65, 0, []int{1, 1}},
		{93, 95, 0, []int{0, 0, 1}},
		{0, 2, 1, nil},
	} {
		p, err := s.verifyRange(s.certify(tc.first, tc.last))
		if err != nil {
			t.Errorf("%d to %d: %v", tc.first, tc.last, err)
			continue
		}
		got := make([]int, len(tc.decisions))
		for _, served := range p.Logs[0].Served {
			var configuration int
			if _, err := fmt.Sscanf(served.File(evidence.RoleConfiguration), "%02x", &configuration); err != nil || configuration > len(got) || got[configuration-1] > 0 {
				t.Errorf("%d to %d: configuration %d, or twice: %v", tc.first, tc.last, configuration, err)
				continue
			}
			got[configuration-1] = served.Decisions
		}
		if !slices.Equal(got, tc.decisions) || p.Logs[0].Unserved != tc.unserved {
			t.Errorf("%d to %d: %d decisions under each, %d under none; want %d and %d", tc.first, tc.last, got, p.Logs[0].Unserved, tc.decisions, tc.unserved)
		}
	}
}

// TestFirstVersionOfACertificateIsStillProven, and is written as it was.
func TestFirstVersionOfACertificateIsStillProven(t *testing.T) {
	a, _ := pair(t, 10, -1, []int64{10, 13}, nil)
	c, err := certifyAll(t, wantedRange(2, 15), a)
	if err != nil {
		t.Fatal(err)
	}
	c.Format = evidence.FirstRangeFormat
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte(`"logs"`)) || !bytes.Contains(b, []byte("\n \"checkpoint\"")) || !evidence.IsCertificate(b) {
		t.Errorf("it is written as %.300s", b)
	}
	if p, err := verifyRange(t, c, a); err != nil || len(p.Logs) != 1 || p.Batches != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestCertificateWithAManifestHasEachOfItsLogs, also one that says nothing of the range; and
// without a manifest that has no place in it.
func TestCertificateWithAManifestHasEachOfItsLogs(t *testing.T) {
	a, b := pair(t, 3, -1, []int64{3, 6}, []int64{90})
	w := wantedRange(0, 8)
	w.Manifest = evidence.NewManifest([]byte("gateways: …"), [][]byte{[]byte("signed")})
	c, err := certifyAll(t, w, b, a)
	if err != nil {
		t.Fatal(err)
	}
	if c.Format != evidence.ListedRangeFormat || len(c.Logs) != 2 {
		t.Fatalf("%q with %d logs", c.Format, len(c.Logs))
	}
	p, err := evidence.VerifyRange(c, keysOf(a, b))
	if err != nil || p.Logs[0].Bare || !p.Logs[1].Bare || p.Logs[1].Checkpoint.Size == 0 {
		t.Errorf("%+v, %v", p, err)
	}

	for name, change := range map[string]func(*evidence.Certificate){
		"the manifest is another": func(c *evidence.Certificate) { c.Manifest.File = []byte("gateways: ") },
		"nobody signed it":        func(c *evidence.Certificate) { c.Manifest = evidence.NewManifest(c.Manifest.File, nil) },
		"there is none":           func(c *evidence.Certificate) { c.Manifest = nil },
		"it has no place":         func(c *evidence.Certificate) { c.Format = evidence.RangeFormat },
		"all logs are bare":       func(c *evidence.Certificate) { c.Logs[0] = evidence.Bare(c.Logs[0].Checkpoint) },
		"half a section":          func(c *evidence.Certificate) { c.Logs[1].Digest = c.Logs[0].Digest },
		"another format":          func(c *evidence.Certificate) { c.Format = "guardlock range certificate v4" },
	} {
		again, err := certifyAll(t, w, a, b)
		if err != nil {
			t.Fatal(err)
		}
		again.Manifest = evidence.NewManifest(w.Manifest.File, w.Manifest.Signatures)
		change(again)
		raw, err := again.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err = evidence.DecodeCertificate(raw); err == nil {
			_, err = evidence.VerifyRange(again, keysOf(a, b))
		}
		if err == nil {
			t.Errorf("%s: it is proven", name)
		}
	}
}

func TestNoBitOfACertificateOfLogsCanBeChanged(t *testing.T) {
	a, b := pair(t, 3, 6, []int64{3, 9}, []int64{6})
	noBitCanBeChanged(t, wantedRange(0, 11), a, b)
}

func TestNoBitOfACertificateWithAManifestCanBeChanged(t *testing.T) {
	a, b := pair(t, 3, -1, []int64{9}, []int64{90})
	w := wantedRange(9, 11)
	w.Manifest = evidence.NewManifest([]byte("gateways: …"), [][]byte{[]byte("signed"), []byte("by two")})
	noBitCanBeChanged(t, w, a, b)
}

func noBitCanBeChanged(t *testing.T, w tree.WantedRange, a, b *site) {
	t.Helper()
	c, err := certifyAll(t, w, a, b)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}

	keys := keysOf(a, b)
	for at := range raw {
		for bit := range 8 {
			changed := bytes.Clone(raw)
			changed[at] ^= 1 << bit
			c, err := evidence.DecodeCertificate(changed)
			if err == nil {
				_, err = evidence.VerifyRange(c, keys)
			}
			// Part of a range that is proven is proven, too: 11 may become 10.
			if err == nil && c.Range.Last != 10 {
				t.Errorf("byte %d, bit %d: %q is proven", at, bit, changed[max(0, at-20):min(len(raw), at+20)])
			}
		}
	}
}
