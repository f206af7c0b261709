package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/tree"
)

func wantedRange(first, last int64) tree.WantedRange {
	return tree.WantedRange{Range: evidence.Range{Cluster: "main", Topic: "customers", First: first, Last: last}, Names: true}
}

func (s *site) certify(first, last int64) *evidence.Certificate {
	s.t.Helper()
	c, err := tree.ProveRange(s.t.Context(), wantedRange(first, last), s.alone())
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// alone is the log of the site as the only one.
func (s *site) alone() []tree.RangeLog { return []tree.RangeLog{{Prover: s.prover()}} }

// verifyRange verifies what was written, as an auditor does.
func (s *site) verifyRange(c *evidence.Certificate) (*evidence.RangeProof, error) {
	s.t.Helper()
	return verifyRange(s.t, c, s)
}

// verifyRange verifies a certificate by the keys of some logs.
func verifyRange(t testing.TB, c *evidence.Certificate, sites ...*site) (*evidence.RangeProof, error) {
	t.Helper()
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := evidence.DecodeCertificate(b)
	if err != nil {
		return nil, err
	}
	return evidence.VerifyRange(again, keysOf(sites...))
}

// keysOf trusts some logs.
func keysOf(sites ...*site) *evidence.Trust {
	trust := new(evidence.Trust)
	for _, s := range sites {
		trust.Logs = append(trust.Logs, s.opt.Verifier)
	}
	return trust
}

func TestCertificateProvesEveryOffsetOfARange(t *testing.T) {
	s := newSite(t, audit.Options{SegmentBytes: 16 << 10, InsecureNoSync: true})
	s.admit()
	for i := range 400 {
		s.produce(int64(3 * i))
		if i%7 == 0 {
			s.flush() // others' entries lie between
		}
	}
	s.flush()
	s.checkpoint()

	c := s.certify(4, 1100)
	p, err := s.verifyRange(c)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, v := range p.Verdicts {
		total += v.Records
	}
	if total != 1097 || p.Batches != 366 || len(p.Policies) != 1 || len(p.Logs) != 1 || len(p.Logs[0].Admissions) == 0 {
		t.Errorf("%d records in %d batches: %+v", total, p.Batches, p)
	}
	// A batch is one record that passed, and two that were masked.
	if v := p.Verdicts[0]; v.Records != 732 || v.Ruling.Reason != "gdpr.masked" || v.Module != module.Name || !v.Ran {
		t.Errorf("%+v", p.Verdicts)
	}
	if len(p.Names) == 0 {
		t.Error("no name is told")
	}
	for first := int64(0); first < 12; first++ { // whatever the tree's shape
		if _, err := s.verifyRange(s.certify(first, first+first*90)); err != nil {
			t.Errorf("%d: %v", first, err)
		}
	}
}

func TestRangeWithAGapOrAnOverlapHasNoCertificate(t *testing.T) {
	s := newSite(t, audit.Options{InsecureNoSync: true})
	s.admit()
	for _, base := range []int64{0, 3, 9, 12, 14, 20} { // 6 to 8 and 17 to 19 are missing, 14 is there twice
		s.produce(base)
	}
	s.flush()
	s.checkpoint()

	for _, tc := range []struct {
		first, last int64
		says        string
	}{
		{0, 5, ""},
		{1, 4, ""},
		{0, 8, "offsets 6 to 8 have no decision"},
		{7, 7, "offsets 7 to 7 have no decision"},
		{9, 16, "offsets 14 to 14 have two decisions"},
		{15, 16, ""},
		{0, 30, "offsets 6 to 8 have no decision, 14 to 14 have two decisions, 17 to 19 have no decision, 23 to 30 have no decision"},
	} {
		_, err := tree.ProveRange(t.Context(), wantedRange(tc.first, tc.last), s.alone())
		if (tc.says == "") != (err == nil) || err != nil && (!errors.Is(err, tree.ErrIncomplete) || !strings.HasSuffix(err.Error(), tc.says)) {
			t.Errorf("%d to %d: %v", tc.first, tc.last, err)
		}
	}
}

// begin records that the record of the partition begins at an offset.
func (s *site) begin(topic byte, partition int32, offset int64) {
	s.t.Helper()
	at := audit.Target{Cluster: "main", Topic: "customers", TopicID: [16]byte{topic}, Partition: partition}
	if err := s.log.Record(s.t.Context(), audit.NewEra(audit.Era{Target: at, Offset: offset, LeaderEpoch: 1, Began: time.UnixMicro(1)})); err != nil {
		s.t.Fatal(err)
	}
}

// gappy is a log that knows a partition from offset 10 on, and nothing of 16 to 18.
func gappy(t *testing.T) *site {
	s := newSite(t, audit.Options{InsecureNoSync: true})
	s.admit()
	s.begin(0, 1, 4)
	s.begin(0, 0, 10)
	for _, base := range []int64{10, 13, 19, 22} {
		s.produce(base)
	}
	s.flush()
	s.checkpoint()
	return s
}

// toldOf makes the brokers explain every gap by one kind.
func toldOf(kind evidence.GapKind) func(context.Context, []evidence.Span) ([]evidence.Gap, error) {
	return func(_ context.Context, gaps []evidence.Span) (told []evidence.Gap, err error) {
		for _, g := range gaps {
			told = append(told, evidence.Gap{First: g.First, Last: g.Last, Kind: kind})
		}
		return told, nil
	}
}

// TestGapsOfARangeAreNamed: by the log where it says since when it knows the partition,
// else by what brokers told. What nothing explains has no certificate.
func TestGapsOfARangeAreNamed(t *testing.T) {
	s := gappy(t)
	before := evidence.Gap{First: 2, Last: 9, Kind: evidence.GapBeforeEra}
	marker := evidence.Gap{First: 16, Last: 18, Kind: evidence.GapMarker}
	for _, tc := range []struct {
		first, last int64
		ask         func(context.Context, []evidence.Span) ([]evidence.Gap, error)
		gaps        []evidence.Gap
		says        string
	}{
		{2, 15, nil, []evidence.Gap{before}, ""},
		{11, 24, toldOf(evidence.GapMarker), []evidence.Gap{marker}, ""},
		{2, 24, toldOf(evidence.GapMarker), []evidence.Gap{before, marker}, ""},
		{10, 15, toldOf(evidence.GapMarker), nil, ""},
		{2, 24, nil, nil, "offsets 16 to 18 have no decision"},
		{2, 27, nil, nil, "offsets 16 to 18 have no decision, 25 to 27 have no decision"},
		{2, 9, nil, nil, "offsets 2 to 9 have no decision"},
	} {
		w := wantedRange(tc.first, tc.last)
		w.Ask = tc.ask
		c, err := tree.ProveRange(t.Context(), w, s.alone())
		if tc.says != "" {
			if !errors.Is(err, tree.ErrIncomplete) || !strings.HasSuffix(err.Error(), tc.says) {
				t.Errorf("%d to %d: %v", tc.first, tc.last, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%d to %d: %v", tc.first, tc.last, err)
			continue
		}
		if p, err := s.verifyRange(c); err != nil || !slices.Equal(p.Gaps, tc.gaps) {
			t.Errorf("%d to %d: %+v, %v", tc.first, tc.last, p, err)
		}
	}
}

// TestGapsThatTheLogDoesNotExplainAreRefused: whoever makes certificates may call anything
// a gap, but not before the era what is not.
func TestGapsThatTheLogDoesNotExplainAreRefused(t *testing.T) {
	s := gappy(t)
	for what, change := range map[string]func(*evidence.Certificate){
		"a marker before the gateway": func(c *evidence.Certificate) { c.Gaps[1].Kind = evidence.GapBeforeEra },
		"an era without a gap":        func(c *evidence.Certificate) { c.Gaps[0].Kind = evidence.GapRetention },
		"another kind":                func(c *evidence.Certificate) { c.Gaps[1].Kind = "fine" },
		"no kind":                     func(c *evidence.Certificate) { c.Gaps[1].Kind = "" },
		"a gap that is none":          func(c *evidence.Certificate) { c.Gaps[1].Last = 19 },
		"a gap that is too short":     func(c *evidence.Certificate) { c.Gaps[1].Last = 17 },
		"a gap outside":               func(c *evidence.Certificate) { c.Gaps[0].First = 1 },
		"a gap that is upside down":   func(c *evidence.Certificate) { c.Gaps[1] = evidence.Gap{First: 18, Last: 16, Kind: evidence.GapMarker} },
		"a gap twice":                 func(c *evidence.Certificate) { c.Gaps = append(c.Gaps, c.Gaps[1]) },
		"no gaps":                     func(c *evidence.Certificate) { c.Gaps = nil },
		"another partition's range":   func(c *evidence.Certificate) { c.Range.Partition = 1 },
	} {
		w := wantedRange(2, 24)
		w.Ask = toldOf(evidence.GapMarker)
		c, err := tree.ProveRange(t.Context(), w, s.alone())
		if err != nil {
			t.Fatal(err)
		}
		change(c)
		if _, err := s.verifyRange(c); err == nil {
			t.Errorf("%s is proven", what)
		}
	}
}

// TestEraOfATopicThatIsGoneExplainsNothing: a topic that was made anew begins another.
func TestEraOfATopicThatIsGoneExplainsNothing(t *testing.T) {
	s := newSite(t, audit.Options{InsecureNoSync: true})
	s.admit()
	s.begin(1, 0, 10)
	s.begin(2, 0, 4)
	s.produce(10) // tells no id
	s.flush()
	s.checkpoint()
	if _, err := tree.ProveRange(t.Context(), wantedRange(2, 12), s.alone()); !errors.Is(err, tree.ErrIncomplete) {
		t.Error(err)
	}
}

// TestCertificateThatClaimsMoreIsRefused: whoever makes certificates has the log, and
// may claim what it does not say.
func TestCertificateThatClaimsMoreIsRefused(t *testing.T) {
	s := newSite(t, audit.Options{InsecureNoSync: true})
	s.admit()
	for i := range 20 {
		s.produce(int64(3 * i))
	}
	s.flush()
	s.checkpoint()

	for what, change := range map[string]func(*evidence.Certificate){
		"a longer range":    func(c *evidence.Certificate) { c.Range.Last = 60 },
		"a range before":    func(c *evidence.Certificate) { c.Range.First = 0 },
		"a shorter range":   func(c *evidence.Certificate) { c.Range.Last = 20 },
		"another partition": func(c *evidence.Certificate) { c.Range.Partition = 1 },
		"another topic":     func(c *evidence.Certificate) { c.Range.Topic = "cards" },
		"an empty range":    func(c *evidence.Certificate) { c.Range.Last = c.Range.First - 1 },
		"a cut proof":       func(c *evidence.Certificate) { c.Logs[0].Proof = c.Logs[0].Proof[:len(c.Logs[0].Proof)-32] },
		"a longer proof":    func(c *evidence.Certificate) { c.Logs[0].Proof = append(c.Logs[0].Proof, make([]byte, 32)...) },
		"leaves of others": func(c *evidence.Certificate) {
			o := s.certify(0, 20)
			c.Logs[0].Leaves = o.Logs[0].Leaves
			c.Logs[0].Digest = o.Logs[0].Digest
		},
		"swapped proof": func(c *evidence.Certificate) {
			c.Logs[0].Proof = append(bytes.Clone(c.Logs[0].Proof[32:64]), append(c.Logs[0].Proof[:32:32], c.Logs[0].Proof[64:]...)...)
		},
		"a name of nobody":    func(c *evidence.Certificate) { c.Names = append(c.Names, evidence.Open(evidence.Salt{1}, "mallory")) },
		"an approval of none": func(c *evidence.Certificate) { c.Approvals = [][]byte{[]byte(`{}`)} },
		"nothing in it":       func(c *evidence.Certificate) { c.Logs[0].Leaves = nil; c.Logs[0].Digest = nil },
	} {
		c := s.certify(9, 47)
		change(c)
		if _, err := s.verifyRange(c); err == nil {
			t.Errorf("%s is proven", what)
		}
	}
}

func TestNoBitOfACertificateCanBeChanged(t *testing.T) {
	s := newSite(t, audit.Options{InsecureNoSync: true})
	s.admit()
	for i := range 6 {
		s.produce(int64(3 * i))
	}
	s.flush()
	s.checkpoint()
	b, err := s.certify(0, 17).Encode()
	if err != nil {
		t.Fatal(err)
	}

	for at := range b {
		for bit := range 8 {
			changed := bytes.Clone(b)
			changed[at] ^= 1 << bit
			c, err := evidence.DecodeCertificate(changed)
			if err == nil {
				_, err = evidence.VerifyRange(c, s.keys())
			}
			// Part of a range that is proven is proven, too: 17 may become 15 or 16.
			if part := err == nil && c.Range.First >= 0 && c.Range.Last <= 17 && c.Range.Last > 14; err == nil && !part {
				t.Errorf("byte %d, bit %d: %q is proven", at, bit, changed[max(0, at-20):min(len(b), at+20)])
			}
		}
	}
}

// TestCertificateOfAMillionOffsetsIsSmall: batches of five hundred, with as many entries
// of others between them, by one gateway and by three.
func TestCertificateOfAMillionOffsetsIsSmall(t *testing.T) {
	for _, gateways := range []int{1, 3} {
		t.Run(fmt.Sprint(gateways), func(t *testing.T) { certifyMillion(t, gateways) })
	}
}

func certifyMillion(t *testing.T, gateways int) {
	t.Helper()
	var sites []*site
	for i := range gateways {
		s := newSiteOf(t, fmt.Sprintf("guardlock.test/gw-%d", i), audit.Options{InsecureNoSync: true})
		s.admit()
		s.serveUnder(1)
		sites = append(sites, s)
	}
	const records = 500
	for i := range 1_000_000 / records {
		s := sites[rand.IntN(gateways)]
		for _, topic := range []string{"customers", "others"} {
			e := &audit.BatchEntry{
				Caller:    audit.Caller{ConnID: uint64(rand.IntN(100)), Principal: "User:alice", ClientID: "shop-1", Source: "10.0.0.9"},
				Target:    audit.Target{Cluster: "main", Topic: topic},
				Authority: audit.Authority{Modules: []audit.ModuleRef{module}, PolicyRevision: "policy-1", GrantDigest: audit.Digest{9}},
				Producer:  audit.Producer{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1},
				Payload:   audit.Payload{Records: records, BytesIn: 50000 + rand.IntN(1000), BytesOut: 50000},
				Outcome:   audit.OutcomeModified,
			}
			e.Add(audit.Ruling{}, 100+i%100)
			e.Add(audit.Ruling{Verdict: audit.Modified, Reason: "gdpr.masked"}, 400-i%100)
			ticket := s.log.Append(e, []byte("batch"))
			s.log.Place(ticket.Seq(), audit.Placement{BaseOffset: int64(i * records)})
		}
	}
	for _, s := range sites {
		s.flush()
		s.checkpoint()
	}

	begun := time.Now()
	c, err := certifyAll(t, wantedRange(0, 999_999), sites...)
	if err != nil {
		t.Fatal(err)
	}
	made := time.Since(begun)
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	p, err := verifyRange(t, c, sites...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, made in %v, verified in %v", len(b), made, time.Since(begun))
	if len(b) > 5_000_000 || p.Batches != 2000 || len(p.Logs) != gateways || len(p.Logs[0].Served) != 1 {
		t.Errorf("%d batches in %d bytes", p.Batches, len(b))
	}
}
