package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// FetchPartition is a partition in a Fetch or ShareFetch response. Topic and
// Records are views into the frame; Topic is nil where the version uses ids.
type FetchPartition struct {
	Topic     []byte
	TopicID   [16]byte
	Partition int32
	ErrorCode int16
	Records   []byte // nil is null
}

// ReplaceRecords decides about one partition of a Fetch. It returns the bytes
// to send instead of p.Records and whether they differ. They are copied before
// the next call.
type ReplaceRecords func(p *FetchPartition) (replacement []byte, changed bool, err error)

// WalkFetchRecords calls fn for every partition with records in a Fetch
// (v4-18) or ShareFetch response frame. If fn changed any, the rebuilt frame is
// appended to dst; otherwise dst comes back as it was and the frame can be sent
// as it is. Everything but the records is copied as it came. Emptied records
// are sent as empty, never as null: librdkafka takes null for a broken
// response and asks again forever.
//
// Only returned partitions matter, so incremental fetch sessions (KIP-227)
// need no tracking here.
func WalkFetchRecords(dst []byte, key kmsg.Key, version int16, frame []byte, fn ReplaceRecords) (out []byte, changed bool, err error) {
	_, body, err := ParseResponseHeader(key, version, frame)
	if err != nil {
		return dst, false, err
	}

	w := fetchWalk{
		reader:  reader{src: frame, off: body, flex: flexible(key, version)},
		share:   key == kmsg.ShareFetch,
		version: version,
		fn:      fn,
		out:     dst,
	}

	w.run()
	if w.err != nil {
		return dst, false, w.err
	}
	if w.bad || w.off != len(frame) {
		return dst, false, malformed("Fetch response")
	}
	if !w.changed {
		return dst, false, nil
	}

	return append(w.out, frame[w.copied:]...), true, nil
}

// fetchWalk reads a response and, from the first change on, writes one. While
// nothing changes nothing is copied.
type fetchWalk struct {
	reader
	share   bool
	version int16
	fn      ReplaceRecords
	out     []byte
	copied  int // frame bytes that are in out already
	changed bool
	err     error
	part    FetchPartition
}

func (w *fetchWalk) run() {
	w.fetchTop()
	for n := w.arrayLen(2); n > 0 && w.ok(); n-- {
		w.topic()
	}

	if w.share {
		skipEndpoints(&w.reader)
	}
	w.tags()
}

func (w *fetchWalk) ok() bool { return !w.bad && w.err == nil }

// fetchTop reads what stands before the topics, whose fields differ from
// version to version.
func (w *fetchWalk) fetchTop() {
	w.skip(4) // throttle_time_ms
	switch {
	case w.share:
		w.skip(2)
		w.str()
		if w.version >= 1 {
			w.skip(4) // acquisition_lock_timeout_ms
		}
	case w.version >= 7:
		w.skip(2 + 4) // error_code, session_id
	}
}

func (w *fetchWalk) topic() {
	if w.share || w.version >= 13 {
		w.part.TopicID = w.uuid()
	} else {
		w.part.Topic = w.str()
	}

	for n := w.arrayLen(6); n > 0 && w.ok(); n-- {
		w.partition()
	}
	w.tags()
}

// partition reads one partition's answer, and offers its records if there are
// any.
func (w *fetchWalk) partition() {
	w.part.Partition, w.part.ErrorCode = w.i32(), w.i16()
	if w.share {
		w.sharePreamble()
	} else {
		w.fetchPreamble()
	}

	lenAt := w.off
	w.part.Records = w.nullableBytes()
	if !w.bad && len(w.part.Records) > 0 {
		w.offer(lenAt)
	}
	if w.share {
		w.acquired()
	}

	w.tags()
}

// fetchPreamble reads a partition of Fetch up to the length of its records.
func (w *fetchWalk) fetchPreamble() {
	w.skip(8 + 8) // high_watermark, last_stable_offset
	if w.version >= 5 {
		w.skip(8) // log_start_offset
	}

	for n := w.arrayLen(16); n > 0 && !w.bad; n-- { // aborted_transactions
		w.skip(8 + 8)
		w.tags()
	}
	if w.version >= 11 {
		w.skip(4) // preferred_read_replica
	}
}

// sharePreamble reads a partition of ShareFetch up to the length of its
// records.
func (w *fetchWalk) sharePreamble() {
	w.str()
	w.skip(2) // acknowledge_error_code
	w.str()
	w.skip(4 + 4) // current_leader
	w.tags()
}

func (w *fetchWalk) acquired() {
	for n := w.arrayLen(18); n > 0 && !w.bad; n-- {
		w.skip(8 + 8 + 2)
		w.tags()
	}
}

// offer asks fn about the records whose length stands at lenAt, and writes what
// it gives in their place.
func (w *fetchWalk) offer(lenAt int) {
	replacement, changed, err := w.fn(&w.part)
	if err != nil || !changed {
		w.err = err
		return
	}

	w.changed = true
	w.out = append(w.out, w.src[w.copied:lenAt]...)
	w.out = appendBytesLen(w.out, len(replacement), w.flex)
	w.out = append(w.out, replacement...)
	w.copied = w.off
}

// skipEndpoints steps over an array of node endpoints (KIP-951), whose
// addresses the rewriter has replaced or will replace.
func skipEndpoints(r *reader) {
	for n := r.arrayLen(10); n > 0 && !r.bad; n-- {
		r.skip(4)
		r.str()
		r.skip(4)
		r.str()
		r.tags()
	}
}
