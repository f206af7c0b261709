package audit_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"

	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// What follows reads a log by docs/log-format.md alone: nothing of this module
// is used to read it.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// foundBatch is a batch as the page tells of it.
type foundBatch struct {
	Topic     string
	Principal string
	Client    string
	Records   int
	Outcome   int
	Modules   []string
	Verdicts  []int // of each record
	Offset    int64 // -1: nowhere, or not known
	Consumed  bool
}

// readByPage is what is found in a directory.
type readByPage struct {
	t        *testing.T
	chain    [32]byte
	seq      uint64 // next
	strings  []string
	batches  map[uint64]*foundBatch
	controls map[int]int // by kind
	kinds    map[int]int // entries by the kind that they are written with
	epochs   []string    // of open entries
	facts    []string    // of admissions and configurations, in their order
	seals    int
	base     int64          // of the frame
	counted  map[string]int // decisions by topic, and batches, of finished segments
	decided  map[string]int // the same, from the entries
	frames   map[int]uint64 // sequence number of the frame at a position of the segment
	bindings int            // of the segment, that cover an offset
	leaders  []uint64       // epochs that bindings tell
	byPageErased
}

func (r *readByPage) check(ok bool, format string, args ...any) {
	r.t.Helper()
	if !ok {
		r.t.Fatalf(format, args...)
	}
}

// segment reads one file and returns where its frames end.
func (r *readByPage) segment(number int, b []byte) int {
	rewritten := string(b[:8]) == "GLAUDIT3"
	r.check(string(b[:8]) == "GLAUDIT2" || rewritten, "segment %d has no magic", number)
	r.check(binary.LittleEndian.Uint32(b[8:]) == uint32(number), "segment %d has another number", number)
	r.check(binary.LittleEndian.Uint32(b[252:]) == crc32.Checksum(b[:252], castagnoli), "header of segment %d: CRC", number)
	r.check(bytes.Equal(b[32:64], r.chain[:]), "segment %d does not go on with the chain", number)
	r.check(binary.LittleEndian.Uint64(b[24:]) == r.seq, "segment %d begins elsewhere", number)
	marker := b[16:24]
	r.chain = sha256.Sum256(append([]byte("guardlock audit segment\n"), b[:256]...))
	r.strings = nil
	r.redacts = rewritten
	r.frames = map[int]uint64{}
	r.bindings = 0

	at := 256
	for at+68 <= len(b) && bytes.Equal(b[at:at+8], marker) {
		n := int(binary.LittleEndian.Uint32(b[at+8:]))
		end := (at + 68 + n + 7) &^ 7
		sum := crc32.Update(crc32.Checksum(b[at+8:at+64], castagnoli), castagnoli, b[at+68:end])
		r.check(binary.LittleEndian.Uint32(b[at+64:]) == sum, "frame at %d: CRC", at)

		h := sha256.New()
		h.Write(r.chain[:])
		h.Write(b[at+8 : at+16])
		h.Write(b[at+68 : end])
		r.check(bytes.Equal(h.Sum(nil), b[at+16:at+48]), "frame at %d: chain", at)
		copy(r.chain[:], b[at+16:])
		r.check(bytes.Equal(r.tag(r.chain[:]), b[at+48:at+64]), "frame at %d: tag", at)

		r.frames[at] = r.seq
		sealed := binary.LittleEndian.Uint32(b[at+12:]) == 1
		r.payload(b[at+68:at+68+n], sealed)

		if sealed {
			footer := b[end : end+24]
			r.check(string(footer[:8]) == "GLSEALED" && binary.LittleEndian.Uint64(footer[8:]) == uint64(at), "footer")
			r.check(binary.LittleEndian.Uint32(footer[16:]) == crc32.Checksum(footer[:16], castagnoli), "footer: CRC")
			r.check(end+24 == len(b), "bytes behind the footer")
		}

		at = end
	}

	r.ended = r.chain
	if rewritten { // the next goes on from what the segment once ended with
		r.rewritten++
		r.check(bytes.Equal(b[172:204], gdpr17[:]), "segment %d: request %x", number, b[172:204])
		copy(r.chain[:], b[204:236])
	}
	return at
}

// tag is that of a message under the audit key.
func (r *readByPage) tag(message []byte) []byte {
	key, err := hkdf.Key(sha256.New, testKey[:], nil, "guardlock audit chain v2", 32)
	r.check(err == nil, "%v", err)
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)[:16]
}

// bytesOf reads the words of the page.
type bytesOf struct {
	r *readByPage
	b []byte
}

func (c *bytesOf) take(n int) []byte {
	c.r.check(n <= len(c.b), "%d bytes where %d are left", n, len(c.b))
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *bytesOf) u8() int { return int(c.take(1)[0]) }

func (c *bytesOf) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	c.r.check(n > 0, "bad uvarint")
	c.b = c.b[n:]
	return v
}

func (c *bytesOf) varint() int64 {
	u := c.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (c *bytesOf) string() string {
	switch ref := c.uvarint(); ref {
	case 0:
		return ""
	case 1:
		return string(c.take(int(c.uvarint())))
	default:
		c.r.check(ref-2 < uint64(len(c.r.strings)), "string %d is not in the dictionary", ref)
		return c.r.strings[ref-2]
	}
}

func (c *bytesOf) module() string {
	name := c.string()
	c.string() // digest
	return name
}

func (r *readByPage) payload(b []byte, sealed bool) {
	c := bytesOf{r, b}
	first := c.uvarint()
	base := c.varint()
	r.check(first == r.seq, "frame begins at %d, want %d", first, r.seq)

	defs := bytesOf{r, c.take(int(c.uvarint()))}
	for len(defs.b) > 0 {
		r.strings = append(r.strings, string(defs.take(int(defs.uvarint()))))
	}

	for len(c.b) > 0 {
		e := bytesOf{r, c.take(int(c.uvarint()))}
		kind := e.u8()
		r.kinds[kind]++
		redacted := 0
		if kind == 18 && r.redacts {
			kind = e.u8()
			redacted = r.redactions(&e)
		}

		switch {
		case kind == 1:
			b := r.batch(&e)
			if redacted&1 != 0 {
				r.check(b.Principal == "", "it has what was taken out")
				b.Principal = "redacted:17abcdef"
			}
			r.found(b)
		case kind == 22:
			e.varint() // nonce
			r.found(r.briefBatch(&e))
		case kind == 24:
			r.found(r.briefBatch(&e))
		case kind >= 2 && kind <= 15 || kind == 20 || kind == 21:
			r.control(&e, base, kind)
			r.seq++
		case kind == 16:
			r.binding(&e, base)
		case kind == 23:
			r.briefBinding(&e, first)
		case kind == 17 && sealed:
			r.seal(&e)
		default:
			r.t.Fatalf("kind %d", kind)
		}

		r.check(len(e.b) == 0, "%d bytes behind an entry of kind %d", len(e.b), kind)
	}
}

func (r *readByPage) found(b *foundBatch) {
	r.batches[r.seq] = b
	r.decided[b.Topic] += b.Records
	r.decided["batches"]++
	r.seq++
}

func (r *readByPage) batch(c *bytesOf) *foundBatch {
	f := &foundBatch{Offset: -1}
	flags := c.u8()
	f.Consumed = flags&16 != 0
	c.varint()
	f.Outcome = c.u8()
	r.batchBy(c, f, flags)

	if c.uvarint() != 0 {
		c.varint()
		c.varint()
	}

	f.Records = int(c.uvarint())
	c.u8()
	c.uvarint()
	c.uvarint()

	if flags&1 != 0 {
		c.uvarint()
		c.take(16)
	}

	f.Verdicts = r.runs(c, r.rulings(c))
	return f
}

// batchBy reads from a batch's reason to its modules.
func (r *readByPage) batchBy(c *bytesOf, f *foundBatch, flags int) {
	c.string()
	c.string() // cluster
	f.Topic = c.string()

	if flags&2 != 0 {
		r.check(len(c.string()) == 16, "topic id")
	}
	c.uvarint() // partition
	c.uvarint() // connection
	f.Principal = c.string()
	f.Client = c.string()
	c.string() // source

	if flags&4 != 0 {
		c.string()
		c.string()
		c.string()
	}

	c.string() // policy
	c.string() // grant
	for n := c.uvarint(); n > 0; n-- {
		f.Modules = append(f.Modules, c.module())
	}
}

func (r *readByPage) rulings(c *bytesOf) (each []int) {
	for n := c.uvarint(); n > 0; n-- {
		each = append(each, c.u8())
		c.u8()
		c.string()
		c.string()
	}
	return each
}

func (r *readByPage) runs(c *bytesOf, each []int) (verdicts []int) {
	if len(each) == 0 {
		return nil
	}

	shift := 0
	for (len(each)-1)>>shift > 0 {
		shift++
	}

	for n := c.uvarint(); n > 0; n-- {
		run := c.uvarint()
		for range run >> shift {
			verdicts = append(verdicts, each[run&(1<<shift-1)])
		}
	}

	return verdicts
}

func (r *readByPage) binding(c *bytesOf, _ int64) {
	seq := c.uvarint()
	c.string()
	c.string()
	c.uvarint()
	route := c.string()

	r.bound(seq, route, int64(c.uvarint())-1, c.uvarint())
	c.uvarint() // append time
	c.uvarint() // error code
	if len(c.b) > 0 {
		r.leaders = append(r.leaders, c.uvarint())
	}
}

func (r *readByPage) bound(seq uint64, route string, offset int64, records uint64) {
	if offset >= 0 && records > 0 {
		r.bindings++
	}
	if b := r.batches[seq]; b != nil && route == "" {
		b.Offset = offset
	}
}

func (r *readByPage) control(c *bytesOf, base int64, kind int) {
	r.controls[kind]++
	r.base = base
	c.varint()
	c.string()
	c.module()

	for range 4 {
		c.string()
	}
	for n := c.uvarint(); n > 0; n-- {
		c.string()
		c.string()
		c.string()
	}

	if kind == 6 {
		r.epochs = append(r.epochs, hex.EncodeToString(c.take(16)))
		c.take(8)
	}

	if (kind == 2 || kind == 9) && len(c.b) > 0 {
		r.admission(c)
	}
	if (kind == 3 || kind == 11) && len(c.b) > 0 {
		r.loaded(c)
	}
	if kind == 10 {
		r.facts = append(r.facts, fmt.Sprintf("era %s %s %.2x %d %d %d %s", c.string(), c.string(), c.string(), c.uvarint(), c.uvarint(), c.uvarint(), c.moment()))
	}
	if kind >= 12 {
		r.told(c)
	}
}

func (r *readByPage) seal(c *bytesOf) {
	r.seals++
	c.uvarint()
	n := int(c.uvarint())
	r.check(n == len(r.strings), "the seal has %d strings, the segment %d", n, len(r.strings))

	for i := range n {
		c.uvarint()
		r.check(string(c.take(int(c.uvarint()))) == r.strings[i], "string %d of the seal", i)
	}

	c.uvarint()
	c.varint()
	c.varint()

	for range 4 {
		c.uvarint()
	}
	for n := c.uvarint(); n > 0; n-- {
		c.string()
		c.string()
		c.uvarint()
		c.uvarint()
		c.uvarint()
	}

	for n := c.uvarint(); n > 0; n-- {
		c.uvarint()
	}
	for n := c.uvarint(); n > 0; n-- {
		c.uvarint()
		c.string()
		c.string()
		c.uvarint()
		c.uvarint()
		c.uvarint()
		c.varint()
		c.uvarint()
		c.u8()
		c.string()
	}

	r.counts(c)
	r.check(reflect.DeepEqual(r.counted, r.decided), "the seals so far count %v, the entries %v", r.counted, r.decided)
}

// Whoever has the page can read the log: what it finds is what queries say.
func TestLogIsReadByItsSpecificationAlone(t *testing.T) {
	readPage(t, logForPage(t))
}

// logForPage is a log with something of everything in it.
func logForPage(t *testing.T) string {
	dir := t.TempDir()
	l := mustOpen(t, dir, audit.Options{Node: "gw-1", SegmentBytes: 8 << 10})
	for i := range 120 {
		e := batchOf(fmt.Sprintf("t%d", i%3), int32(i%4), 50)
		e.Principal = fmt.Sprintf("User:p%d", i%7)
		switch i % 5 {
		case 1:
			e.ProducerID = -1
		case 2:
			e.TopicID = [16]byte{}
			e.TLS = audit.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Fingerprint: carol}
		}

		if i%8 == 4 {
			e.Direction = audit.Consume
		}
		if i%10 == 9 { // what comes again has a template
			for range 3 {
				again := l.Append(e, []byte{byte(i)}).Seq()
				l.Place(again, audit.Placement{BaseOffset: int64(again), AppendTime: time.UnixMicro(7e14)})
			}
		}
		seq := mustAppend(t, l, e, []byte{byte(i)})
		if i%4 != 0 {
			p := audit.Placement{BaseOffset: int64(i) * 50}
			if i%40 == 1 {
				p.Leader = audit.LeaderEpochOf(int32(i))
			}
			l.Place(seq, p)
		}
	}

	recordFacts(t, l)
	flushed(t, l)
	if err := l.IndexOnce(t.Context()); err != nil {
		t.Fatal(err)
	}

	mustClose(t, l)
	return dir
}

// readPage reads a log by the page, and compares it with what queries say.
func readPage(t *testing.T, dir string) *readByPage {
	r := &readByPage{t: t, seq: 1, batches: map[uint64]*foundBatch{}, controls: map[int]int{}, kinds: map[int]int{}, counted: map[string]int{}, decided: map[string]int{}}
	value, certificate := nameOf("User:p3"), nameOf(string(carol[:]))
	r.names = map[uint64][]byte{0: value[:], 3: certificate[:]}
	files, err := filepath.Glob(filepath.Join(dir, "audit-*.wal"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d segments, %v", len(files), err)
	}

	end := 0
	for i, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}

		end = r.segment(i+1, raw)
		if i < len(files)-1 {
			raw, err := os.ReadFile(fmt.Sprintf("%s/audit-%08d.idx", dir, i+1))
			if err != nil {
				t.Fatal(err)
			}
			r.index(i+1, end+24, raw)
		}
	}

	for _, kind := range []int{1, 16, 22, 23, 24} {
		r.check(r.kinds[kind] > 0, "there is no entry of kind %d", kind)
	}
	r.mark(dir, len(files), end)
	r.compare(dir)
	return r
}

// recordFacts writes what an admission was judged by, and what was loaded.
func recordFacts(t *testing.T, l *audit.Log) {
	t.Helper()
	for _, c := range []audit.ControlEntry{
		{Kind: audit.KindAdmission, Admission: &audit.Admission{
			Author:    audit.Signer{Identity: "ada", KeyID: "a1", KeyUntil: noon},
			Approvals: []audit.Approval{{Approver: "grace", Ticket: "SEC-1", ID: "id1", KeyID: "g1", From: noon, Until: noon.Add(time.Microsecond)}},
			Threshold: 1,
			Config:    audit.Digest{1},
			TrustRoot: audit.Digest{2},
			Grant: audit.Grant{Digest: audit.Digest{3}, Topics: []string{"c*"}, Functions: []string{"f", "g"}, Keys: []string{"k"}, Audience: []string{"gateway:a"},
				Limits: audit.Limits{MemoryBytes: 4, DeadlineMS: 5, OutputBytes: 6, Instances: 7}, Until: noon.Add(time.Hour)},
			Topics:  []string{"cards"},
			Imports: []string{"f"},
			Until:   noon.Add(time.Minute),
			Cluster: "main",
		}},
		{Kind: audit.KindConfig, Loaded: &audit.Loaded{Fault: "trust.yaml", Files: []audit.File{
			{Role: "configuration", Name: "guardlock.yaml", Digest: audit.Digest{4}}, {Role: "policy", Name: "p.tar.gz", Digest: audit.Digest{5}, Revision: 9},
		}}},
		{Kind: audit.KindAuthority, Loaded: &audit.Loaded{Files: []audit.File{{Role: "authority", Name: "gw-1", Digest: audit.Digest{6}}}}},
		audit.NewEra(audit.Era{Target: audit.Target{Cluster: "main", Topic: "cards", TopicID: [16]byte{6}, Partition: 2}, Offset: 77, LeaderEpoch: 4, Began: noon}),
	} {
		if err := l.Record(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

// mark reads the mark of a log that was closed.
func (r *readByPage) mark(dir string, segments, end int) {
	b, err := os.ReadFile(filepath.Join(dir, "committed"))
	r.check(err == nil && len(b) == 512+84, "mark: %d bytes, %v", len(b), err)
	first := b[:84]
	if second := b[512:]; binary.LittleEndian.Uint64(second[24:]) > binary.LittleEndian.Uint64(first[24:]) {
		first = second
	}

	b = first
	r.check(string(b[:8]) == "GLMARK02", "mark: magic")
	r.check(binary.LittleEndian.Uint64(b[8:]) == uint64(segments) && binary.LittleEndian.Uint64(b[16:]) == uint64(end), "mark: place")
	r.check(binary.LittleEndian.Uint64(b[24:]) == r.seq && bytes.Equal(b[32:64], r.chain[:]), "mark: chain")
	r.check(bytes.Equal(r.tag(b[:64]), b[64:80]), "mark: tag")
	r.check(binary.LittleEndian.Uint32(b[80:]) == crc32.Checksum(b[:80], castagnoli), "mark: CRC")
}

func (r *readByPage) compare(dir string) {
	q, err := query.Open(dir)
	r.check(err == nil, "%v", err)
	n := 0
	for d, err := range q.Query(r.t.Context(), query.Filter{Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true}) {
		r.check(err == nil, "%v", err)
		n++
		got := r.batches[d.Batch.Seq]
		r.check(got != nil, "batch %d was not found", d.Batch.Seq)
		want := foundBatch{
			Topic:     d.Topic,
			Principal: d.Principal,
			Client:    d.ClientID,
			Records:   d.Batch.Records,
			Outcome:   int(d.Batch.Outcome),
			Modules:   []string{"gdpr", "fraud"},
			Verdicts:  got.Verdicts,
			Offset:    d.Batch.BaseOffset,
			Consumed:  d.Batch.Direction == audit.Consume && d.Batch.State == query.StateServed,
		}

		r.check(reflect.DeepEqual(*got, want), "batch %d: got %+v, want %+v", d.Batch.Seq, *got, want)
		r.check(len(got.Verdicts) == got.Records && got.Verdicts[3] == 1 && got.Verdicts[44] == 3, "verdicts of batch %d: %v", d.Batch.Seq, got.Verdicts)
	}

	r.check(n == len(r.batches) && n == 156, "%d batches by query, %d by the page", n, len(r.batches))
	r.check(reflect.DeepEqual(r.leaders, []uint64{1, 41, 81}), "leaders' epochs %v", r.leaders)
	r.check(reflect.DeepEqual(r.facts, factsByPage), "facts %q", r.facts)
	r.check(r.controls[6] == 1 && r.controls[3] == 2 && r.controls[2] == 1 && len(r.epochs) == 1 && r.seals >= 2, "controls %v, %d seals", r.controls, r.seals)
}
