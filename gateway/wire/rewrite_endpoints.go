package wire

// Node endpoints (KIP-951) ride in tagged field 0 of Produce v10+ and Fetch
// v16+ responses, and in a plain array of ShareFetch and ShareAcknowledge: the
// broker hints where a partition's new leader is. Unreplaced, a client would
// connect there, past every policy. The field is looked for in all versions
// that have tagged fields: clients take it wherever a broker puts it.

func (w *rewriter) produce() {
	walk := produceWalk{version: w.version}
	for walk.open(&w.reader); walk.next(&w.reader); {
	}
	w.skip(4) // throttle_time_ms
	w.endpointTags()
}

func (w *rewriter) fetch() {
	walk := fetchWalk{reader: w.reader, version: w.version, fn: keepRecords}
	walk.fetchTop()
	for n := walk.arrayLen(2); n > 0 && walk.ok(); n-- {
		walk.topic()
	}
	w.reader = walk.reader
	w.endpointTags()
}

func keepRecords(*FetchPartition) ([]byte, bool, error) { return nil, false, nil }

func (w *rewriter) shareFetch() {
	walk := fetchWalk{reader: w.reader, version: w.version, share: true, fn: keepRecords}
	walk.fetchTop()
	for n := walk.arrayLen(2); n > 0 && walk.ok(); n-- {
		walk.topic()
	}

	w.reader = walk.reader
	w.brokers(true, false)
	w.tags()
}

// shareAcknowledge replaces the addresses of the leaders that a client is sent
// to (KIP-951).
func (w *rewriter) shareAcknowledge() {
	w.skip(4 + 2) // throttle_time_ms, error_code
	w.str()       // error_message
	if w.version >= 2 {
		w.skip(4) // acquisition_lock_timeout_ms
	}

	for n := w.arrayLen(17); n > 0 && w.ok(); n-- {
		w.skip(16) // topic_id
		for m := w.arrayLen(7); m > 0 && w.ok(); m-- {
			w.skip(4 + 2) // partition_index, error_code
			w.str()       // error_message
			w.skip(4 + 4) // current_leader
			w.tags()
			w.tags()
		}

		w.tags()
	}

	w.brokers(true, false)
	w.tags()
}

// endpointTags rewrites a closing tagged-field section whose field 0 holds node
// endpoints. The field's length changes with its addresses, so it is written
// aside first.
func (w *rewriter) endpointTags() {
	w.eachTag(func(tag uint32, value []byte, lenAt int) {
		if tag != 0 || !w.ok() {
			return
		}
		in := rewriter{reader: reader{src: value, flex: true}, version: w.version, addresses: w.addresses}
		in.brokers(true, false)
		w.err = in.err

		if in.bad || in.off != len(value) {
			w.bad = true
		}
		if !w.ok() || in.copied == 0 {
			return
		}

		fresh := append(in.out, value[in.copied:]...)
		w.upTo(lenAt)
		w.out = appendUvarint(w.out, uint32(len(fresh)))
		w.out = append(w.out, fresh...)
		w.copied = w.off
	})
}
