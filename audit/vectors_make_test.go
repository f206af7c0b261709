package audit

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/segment"
)

// Vector is an entry of one kind as the documents show it: as a frame's payload of its
// own, in a segment that had no strings before, and as a leaf.
type Vector struct {
	Kind    uint8
	Called  string
	Payload []byte
	Leaf    *evidence.Leaf // nil: the entry has none
}

// VectorName is the digest of a name in the vectors' leaves: the salts follow from a
// secret of 32 zeros.
func VectorName(value string) evidence.Name {
	h := hmac.New(sha256.New, make([]byte, 32))
	h.Write([]byte(value))
	return evidence.NameOf(evidence.Salt(h.Sum(nil)[:16]), value)
}

// vectorBase is the base time of each payload. An entry's own is as many microseconds
// later as its number.
const vectorBase = 1_790_000_000_000_000

// vectorCertificate is a digest that can be read.
const vectorCertificate = "fingerprint of ada's certificate"

func vectorTime(n int64) time.Time { return TimeOf(vectorBase + n) }

// Vectors has an entry of each kind, by their numbers.
func Vectors() (all []Vector) {
	add := func(kind Kind, called string, e *Entry, encode func(*encoder)) {
		v := Vector{Kind: uint8(kind), Called: called, Payload: vectorPayload(uint64(kind), encode)}
		if e != nil {
			l := e.Leaf(VectorName)
			v.Leaf = &l
		}
		all = append(all, v)
	}

	batch := vectorBatch()
	add(KindBatch, "decision", &Entry{Seq: 1, Epoch: segment.Epoch{6}, Batch: batch}, func(e *encoder) { e.batch(batch, vectorBase) })
	for _, c := range vectorControls() {
		c.Time = vectorTime(int64(c.Kind))
		add(c.Kind, c.Kind.String(), &Entry{Seq: uint64(c.Kind), Control: &c}, func(e *encoder) { e.control(&c, vectorBase) })
	}

	bind := vectorBind()
	add(kindBind, "placement", &Entry{Bind: bind}, func(e *encoder) { e.bind(bind, vectorBase) })
	all = append(all, Vector{Kind: uint8(kindSeal), Called: "seal", Payload: vectorSeal()})

	erased := *batch
	erased.Redacted = Redactions{{Place: PlacePrincipal, Name: VectorName(batch.Principal), Request: Digest{0x17, 0xab, 0xcd, 0xef}}}
	erased.Principal = ""
	add(kindRedacted, "decision, redacted", &Entry{Seq: 1, Epoch: segment.Epoch{6}, Batch: &erased}, func(e *encoder) { e.batch(&erased, vectorBase) })
	brief := *batch
	all = append(all, vectorBrief(kindBriefBatch, "brief decision", func(e *encoder) { e.batch(&brief, vectorBase) }))
	all = append(all, vectorBrief(kindBriefBind, "brief placement", func(e *encoder) { e.bind(bind, vectorBase) }))
	brief.nonce = 1
	all = append(all, vectorBrief(kindBriefNext, "brief decision, next nonce", func(e *encoder) { e.batch(&brief, vectorBase) }))
	slices.SortStableFunc(all, func(a, b Vector) int { return cmp.Compare(a.Kind, b.Kind) })
	return all
}

// vectorBrief is an entry by its template, which is made at the second coming.
func vectorBrief(kind Kind, called string, encode func(*encoder)) Vector {
	return Vector{Kind: uint8(kind), Called: called, Payload: vectorPayload(uint64(kind), func(e *encoder) {
		e.brief = true
		e.first = uint64(kind)
		encode(e)
		e.out = e.out[:0]
		encode(e)
	})}
}

// vectorPayload is that of a frame with one entry, whose number is the kind's.
func vectorPayload(seq uint64, encode func(*encoder)) []byte {
	e := encoder{dict: newDict()}
	encode(&e)
	c := chunk{seq: seq, base: vectorBase, defs: e.defs, entries: appendEntry(nil, e.out)}
	c.close(seq + 1)
	return slices.Concat(c.head, c.defs, c.entries)
}

func vectorBatch() *BatchEntry {
	e := &BatchEntry{
		Time: vectorTime(1),
		Caller: Caller{ConnID: 9, Principal: "User:ada", ClientID: "billing", Source: "192.0.2.7",
			TLS: TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Fingerprint: Fingerprint([]byte(vectorCertificate))}},
		Target:    Target{Cluster: "main", Topic: "customers", TopicID: [16]byte{1, 2}, Partition: 3},
		Authority: Authority{Modules: []ModuleRef{{Name: "gdpr", Digest: Digest{5}}}, PolicyRevision: "p7", GrantDigest: Digest{4}},
		Producer:  Producer{ProducerID: 4000, ProducerEpoch: 1, BaseSequence: 17},
		Payload:   Payload{Records: 4, Codec: 3, BytesIn: 300, BytesOut: 290},
		Outcome:   OutcomeModified,
		Evidence:  EvidenceHeader,
		nonce:     8,
		mac:       [16]byte{7},
	}
	e.Add(Ruling{}, 2)
	e.Add(Ruling{Verdict: Modified, Reason: "gdpr.masked"}, 1)
	e.Add(Ruling{Verdict: Routed, Reason: "gdpr.alert", Route: "alerts"}, 1)
	return e
}

func vectorBind() *Bind {
	return &Bind{
		Seq: 1, Coord: Coord{Cluster: "main", Topic: "alerts", Partition: 1}, Route: "alerts", Base: 40, count: 1,
		AppendTime: vectorBase + 16, Recovered: true, Leader: LeaderEpochOf(2),
	}
}

// vectorSeal ends a segment that holds an opening, the decision and its placement.
func vectorSeal() []byte {
	s := newState(1)
	e := encoder{dict: s.dict}
	opened := ControlEntry{Kind: KindOpen, Time: vectorTime(1), Subject: "gw-a", Outcome: "opened", Opening: Opening{Epoch: segment.Epoch{6}, KeyID: [8]byte{7}}}
	batch, bind := vectorBatch(), vectorBind()
	bind.Seq = 2
	e.control(&opened, vectorBase)
	s.noteControl(&opened)
	e.batch(batch, vectorBase)
	s.noteBatch(batch)
	e.bind(bind, vectorBase)
	s.noteBind(bind)
	return s.sum.seal(false)
}

// vectorControls has each control entry. Their times are set by whoever takes them.
func vectorControls() []ControlEntry {
	files := []File{{Role: "configuration", Name: "guardlock.yaml", Digest: Digest{9}}, {Role: "policy_bundle", Name: "p.tar.gz", Digest: Digest{10}, Revision: 7}}
	admission := vectorAdmission()
	gdpr := ModuleRef{Name: "gdpr", Digest: Digest{5}}
	era := NewEra(Era{Target: Target{Cluster: "main", Topic: "customers", TopicID: [16]byte{1, 2}, Partition: 3}, Offset: 40, LeaderEpoch: 2, Began: vectorTime(10)})
	acknowledged := Acknowledgement{Cluster: "main", Topic: "customers", TopicID: TopicID{1, 2}, Partition: 3, First: 41, Last: 41, By: "ada", Reason: "case 9", Given: vectorTime(20)}
	clock := ClockStep{Was: vectorTime(21), Is: vectorTime(5_000_021)}
	hold := Hold{ID: "h1", Topic: "customers", From: vectorTime(0), Added: vectorTime(14), Reason: "case 9", By: "ada"}
	again := Step{Name: stepRepeats, Verdict: "entry", Detail: "2"}

	return []ControlEntry{
		{Kind: KindAdmission, Subject: "mask", Module: gdpr, Principal: "User:ada", Outcome: "allowed", Revision: "p7", Admission: admission,
			Steps: []Step{{Name: "digest", Verdict: "passed"}, {Name: StepTable, Verdict: "loaded", Detail: "countries 0b"}}},
		{Kind: KindConfig, Subject: "guardlock.yaml", Outcome: "refused", Reason: "unreadable", Loaded: &Loaded{Fault: "trust.yaml", Files: files},
			Steps: []Step{{Name: "load", Verdict: "refused", Detail: "trust.yaml: line 3"}}},
		{Kind: KindStart, Subject: "gw-a", Outcome: "started", Revision: "v1.2.3"},
		{Kind: KindStop, Subject: "gw-a", Outcome: "stopped"},
		{Kind: KindOpen, Subject: "gw-a", Outcome: "opened", Opening: Opening{Epoch: segment.Epoch{6}, KeyID: [8]byte{7}},
			Steps: []Step{{Name: "torn_tail", Verdict: "cut", Detail: "12 bytes"}}},
		{Kind: KindAdmin, Subject: "DeleteTopics in cluster main", Principal: "User:ada", Outcome: "denied", Reason: "topic_unbound", Revision: "p7",
			Steps: []Step{{Name: "DeleteTopics", Verdict: "denied", Detail: "topic customers"}}},
		{Kind: KindConduct, Subject: "mask", Module: gdpr, Principal: "User:ada", Outcome: "suspended", Reason: "trap",
			Steps: []Step{{Name: "failures", Verdict: "5", Detail: "within=1m0s pause=1s"}}},
		{Kind: KindStanding, Subject: "mask", Module: gdpr, Principal: "User:ada", Outcome: "allowed", Revision: "p7", Admission: admission, Steps: []Step{again}},
		era,
		{Kind: KindAuthority, Subject: "guardlock.yaml", Outcome: "in_force", Revision: "p7",
			Loaded: &Loaded{Files: append(slices.Clone(files), File{Role: "authority", Name: "gw-a", Digest: Digest{11}})}},
		{Kind: KindAdoption, Subject: "gw-a", Principal: "ada", Outcome: "adopted", Reason: "disk failed", Facts: []Fact{{FactFromAside, "audit.1"},
			{FactFromLog, "0c0d000000000000"}, {FactFromOrigin, "guardlock/gw-a/01"}, {FactFromEntries, "12"}, {FactFromRoot, "AQ=="}}},
		NewErasure(Erasure{Request: Digest{0x17}, Redaction: Redaction{Segment: 3, Chain: "0e0f", Entries: 2}, Signers: []Signer{{Identity: "grace", KeyID: "g1"}}, By: "ada", Reason: "request 17"}),
		hold.entry(),
		(&Reconciliation{Cluster: "main", Outcome: ReconciledBypass, Asked: vectorTime(0), Ended: vectorTime(15), Partitions: 6, Offsets: 100,
			Classes: []ReconciledClass{{"bypass", 1}, {"known", 99}}, Places: []ReconciledPlace{{Class: "bypass", Topic: "customers", TopicID: [16]byte{1, 2}, Partition: 3, First: 41, Last: 41}}, Logs: []ReconciledLog{{ID: [8]byte{12, 13}, Next: 9}}}).Entry(),
		acknowledged.entry(),
		clock.Entry(),
	}
}

// vectorAdmission has something in each field.
func vectorAdmission() *Admission {
	return &Admission{
		Cluster: "main",
		Author:  Signer{Identity: "ada", KeyID: "a1", KeyUntil: vectorTime(100)},
		Approvals: []Approval{{Approver: "grace", Ticket: "SEC-1", ID: "id1", KeyID: "g1", From: vectorTime(-100), Until: vectorTime(200),
			KeyUntil: vectorTime(300)}},
		Threshold: 1,
		Config:    Digest{1},
		TrustRoot: Digest{2},
		Grant: Grant{Digest: Digest{4}, Topics: []string{"c*"}, Functions: []string{"route", "state"}, Keys: []string{"pii"}, Routes: []string{"alerts"},
			Audience: []string{"gw-a"}, Limits: Limits{MemoryBytes: 1 << 20, DeadlineMS: 50, OutputBytes: 4096, Instances: 2},
			From: vectorTime(-100), Until: vectorTime(200)},
		Topics:  []string{"customers"},
		Imports: []string{"route"},
		Until:   vectorTime(100),
	}
}
