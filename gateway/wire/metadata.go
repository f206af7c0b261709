package wire

// ForbidAutoCreation makes a Metadata request create no topic, where it lies, if
// it names one that may not be created. Up to v3 the request cannot say so, and
// the cluster's own setting decides. body is behind the header.
func ForbidAutoCreation(version int16, body []byte, mayCreate func(topic string) bool) error {
	if version < 4 {
		return nil
	}

	r := reader{src: body, flex: version >= 9}
	forbidden := false
	for n := r.arrayLen(2); n > 0 && !r.bad; n-- {
		if version >= 10 {
			r.skip(16) // topic_id
		}
		name := r.str()
		r.tags()
		forbidden = forbidden || name != nil && !mayCreate(string(name))
	}

	at := r.off
	r.skip(1) // allow_auto_topic_creation
	if r.bad {
		return malformed("Metadata request")
	}
	if forbidden {
		body[at] = 0
	}

	return nil
}
