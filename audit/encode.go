package audit

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

// Payload of a frame: uvarint first sequence number, varint base time (µs since
// 1970), uvarint length of definitions, definitions (uvarint length, bytes;
// each takes the next dictionary number), then entries: uvarint length, kind,
// body. Batch and control entries take sequence numbers in their order;
// bindings and seals take none. Times are varint µs after the base.
//
// The bodies are the field order of the functions below.

// What older entries lack comes with a flag of its own: readers take logs from
// before it, and a reader from before it refuses the entry, not misreads it.
const (
	batchHasMAC     = 1 << 0
	batchHasTopicID = 1 << 1
	batchHasTLS     = 1 << 2 // unset in every log from before these facts
	batchMACHeader  = 1 << 3 // before it, every MAC was of the content
	batchConsumed   = 1 << 4 // before it, every batch was produced
	batchFlags      = batchHasMAC | batchHasTopicID | batchHasTLS | batchMACHeader | batchConsumed
)

func batchFlagsOf(b *BatchEntry) (flags byte) {
	if b.nonce != 0 {
		flags |= batchHasMAC
		if b.Evidence == EvidenceHeader {
			flags |= batchMACHeader
		}
	}

	if b.TopicID != [16]byte{} {
		flags |= batchHasTopicID
	}
	if b.TLS != (TLS{}) {
		flags |= batchHasTLS
	}
	if b.Direction == Consume {
		flags |= batchConsumed
	}
	return flags
}

func (e *encoder) batch(b *BatchEntry, base int64) {
	if e.briefBatch(b, base) {
		return
	}

	flags := batchFlagsOf(b)
	e.kind(KindBatch, b.Redacted)
	e.byte(flags)
	e.varint(b.Time.UnixMicro() - base)
	e.byte(byte(b.Outcome))
	e.str(RoleReason, b.Reason)
	e.caller(b)
	e.authority(b)
	e.producer(b)
	e.uvarint(uint64(b.Records))
	e.byte(b.Codec)
	e.uvarint(uint64(b.BytesIn))
	e.uvarint(uint64(b.BytesOut))

	if flags&batchHasMAC != 0 {
		e.uvarint(b.nonce)
		e.out = append(e.out, b.mac[:]...)
	}

	e.rulings(b)
	if len(b.Rulings) > 0 {
		e.runs(b)
	}
}

func (e *encoder) caller(b *BatchEntry) {
	e.str(RoleCluster, b.Cluster)
	e.str(RoleTopic, b.Topic)
	if b.TopicID != [16]byte{} {
		e.fixed(roleTopicID, b.TopicID[:])
	}

	e.uvarint(uint64(uint32(b.Partition)))
	e.uvarint(b.ConnID)
	e.str(RolePrincipal, b.Principal)
	e.str(RoleClient, b.ClientID)
	e.str(RoleSource, b.Source)

	if b.TLS != (TLS{}) {
		e.tls(&b.TLS)
	}
}

func (e *encoder) authority(b *BatchEntry) {
	e.str(rolePolicy, b.PolicyRevision)
	e.fixed(roleGrant, b.GrantDigest[:])
	e.uvarint(uint64(len(b.Modules)))
	for i := range b.Modules {
		e.module(&b.Modules[i])
	}
}

func (e *encoder) module(m *ModuleRef) {
	e.str(RoleModule, m.Name)
	e.fixed(RoleDigest, m.Digest[:])
}

func (e *encoder) producer(b *BatchEntry) {
	e.uvarint(uint64(b.ProducerID + 1))
	if b.ProducerID >= 0 {
		e.varint(int64(b.ProducerEpoch))
		e.varint(int64(b.BaseSequence))
	}
}

// rulings writes each distinct ruling once.
func (e *encoder) rulings(b *BatchEntry) {
	e.uvarint(uint64(len(b.Rulings)))
	for i := range b.Rulings {
		r := &b.Rulings[i]
		e.byte(byte(r.Verdict))
		e.byte(r.Module)
		e.str(RoleReason, r.Reason)
		e.str(RoleRoute, r.Route)
	}
}

// runs writes each run as one number: count and ruling. Most fit in a byte.
func (e *encoder) runs(b *BatchEntry) {
	shift := rulingBits(len(b.Rulings))
	e.uvarint(uint64(len(b.Runs)))
	for _, r := range b.Runs {
		e.uvarint(uint64(r.Count)<<shift | uint64(r.Ruling))
	}
}

func rulingBits(n int) int { return bits.Len(uint(n - 1)) }

func (e *encoder) control(c *ControlEntry, base int64) {
	e.kind(c.Kind, c.Redacted)
	e.varint(c.Time.UnixMicro() - base)
	e.str(roleText, c.Subject)
	e.module(&c.Module)
	e.str(RolePrincipal, c.Principal)
	e.str(RoleOutcome, c.Outcome)
	e.str(RoleReason, c.Reason)
	e.str(rolePolicy, c.Revision)
	e.uvarint(uint64(len(c.Steps)))

	for i := range c.Steps {
		e.str(roleText, c.Steps[i].Name)
		e.str(roleText, c.Steps[i].Verdict)
		e.str(roleText, c.Steps[i].Detail)
	}

	e.facts(c, base)
}

// Bind is a binding with what a reader needs to find its batch.
type Bind struct {
	Seq uint64
	Coord
	Route      string // empty for the batch itself
	Base       int64
	count      int   // records stored from base on
	AppendTime int64 // µs, 0 if none
	ErrorCode  int16
	Recovered  bool
	Leader     LeaderEpoch // not known in a log from before it was kept
}

// contains reports whether the binding covers the offset.
func (b *Bind) contains(offset int64) bool {
	return b.Base >= 0 && offset >= b.Base && offset-b.Base < int64(b.count)
}

func (e *encoder) bind(b *Bind, base int64) {
	if e.briefBind(b, base) {
		return
	}

	e.byte(byte(kindBind))
	e.uvarint(b.Seq)
	e.str(RoleCluster, b.Cluster)
	e.str(RoleTopic, b.Topic)
	e.uvarint(uint64(uint32(b.Partition)))
	e.str(RoleRoute, b.Route)
	e.uvarint(uint64(b.Base + 1))
	e.uvarint(uint64(b.count))

	if b.AppendTime == 0 {
		e.uvarint(0)
	} else {
		e.uvarint(zigzag(b.AppendTime-base) + 1)
	}

	flags := uint64(uint16(b.ErrorCode)) << 1
	if b.Recovered {
		flags |= 1
	}

	e.uvarint(flags)
	if b.Leader != 0 {
		e.uvarint(uint64(b.Leader - 1))
	}
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// validate refuses entries that could not be read back.
func (e *BatchEntry) validate() error {
	total := 0
	for _, r := range e.Runs {
		if int(r.Ruling) >= len(e.Rulings) || r.Count == 0 {
			return fmt.Errorf("%w: run out of its bounds", ErrInvalidEntry)
		}
		total += int(r.Count)
	}

	if len(e.Runs) > 0 && total != e.Records || len(e.Runs) == 0 && len(e.Rulings) > 0 {
		return fmt.Errorf("%w: %d rulings for %d records", ErrInvalidEntry, total, e.Records)
	}
	if e.Redacted != nil {
		return errRedacted
	}
	if e.Direction > Consume || len(e.Modules) > 255 || e.ProducerID < -1 || e.Records < 0 || e.BytesIn < 0 || e.BytesOut < 0 || e.Partition < 0 {
		return fmt.Errorf("%w: number out of its bounds", ErrInvalidEntry)
	}

	for _, r := range e.Rulings {
		if r.Verdict > Routed || r.Verdict != Passed && int(r.Module) >= len(e.Modules) {
			return fmt.Errorf("%w: ruling of no module", ErrInvalidEntry)
		}
	}

	if !e.Fits() {
		return fmt.Errorf("%w: over %d bytes", ErrInvalidEntry, maxEntryBytes)
	}
	return e.validateStrings()
}

// Fits reports whether the entry is of a size that the log takes. One of a batch whose
// records came to other ends in turn, hundreds of thousands of times, may not be.
func (e *BatchEntry) Fits() bool { return e.sizeBound() <= maxEntryBytes }

func (e *BatchEntry) validateStrings() error {
	long := max(len(e.Cluster), len(e.Topic), len(e.Principal), len(e.ClientID), len(e.Source), len(e.TLS.Version), len(e.TLS.Cipher),
		len(e.PolicyRevision), len(e.Reason))
	for i := range e.Modules {
		long = max(long, len(e.Modules[i].Name))
	}

	for i := range e.Rulings {
		long = max(long, len(e.Rulings[i].Reason), len(e.Rulings[i].Route))
	}
	if long > maxStringBytes {
		return fmt.Errorf("%w: string over %d bytes", ErrInvalidEntry, maxStringBytes)
	}

	return nil
}

// sizeBound is at least the bytes that the entry and its definitions take, its template
// among them.
func (e *BatchEntry) sizeBound() int {
	n := 192 + maxInterned + len(e.Cluster) + len(e.Topic) + len(e.Principal) + len(e.ClientID) + len(e.Source) + len(e.PolicyRevision) + len(e.Reason)
	if e.TLS != (TLS{}) {
		n += 64 + len(e.TLS.Version) + len(e.TLS.Cipher)
	}

	for i := range e.Modules {
		n += 64 + len(e.Modules[i].Name)
	}
	for i := range e.Rulings {
		n += 32 + len(e.Rulings[i].Reason) + len(e.Rulings[i].Route)
	}

	return n + 64 + len(e.Runs)*binary.MaxVarintLen64
}

func (c *ControlEntry) validate() error {
	if !c.Kind.numbered() || c.Kind == KindBatch || c.Kind == KindStanding {
		return fmt.Errorf("%w: kind %d is not a control entry's", ErrInvalidEntry, c.Kind)
	}
	if c.Redacted != nil {
		return errRedacted
	}
	if c.sizeBound() > maxEntryBytes {
		return fmt.Errorf("%w: over %d bytes", ErrInvalidEntry, maxEntryBytes)
	}
	return c.validateFacts()
}

func (c *ControlEntry) sizeBound() int {
	n := 192 + len(c.Subject) + len(c.Module.Name) + len(c.Principal) + len(c.Outcome) + len(c.Reason) + len(c.Revision)
	for i := range c.Steps {
		n += 32 + len(c.Steps[i].Name) + len(c.Steps[i].Verdict) + len(c.Steps[i].Detail)
	}

	if c.Admission != nil {
		n += c.Admission.sizeBound()
	}
	if c.Loaded != nil {
		n += c.Loaded.sizeBound()
	}
	for i := range c.Facts {
		n += 32 + len(c.Facts[i].Key) + len(c.Facts[i].Value)
	}
	if c.Era != nil {
		n += c.Era.sizeBound()
	}

	return n
}

// TimeOf is the time of an entry, which keeps microseconds since 1970.
func TimeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
