package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// CheckFollower refuses requests that speak as a replica: Fetch, ListOffsets
// and OffsetForLeaderEpoch with a replica id >= 0 read past the high watermark
// and move it. Other APIs pass. body is behind the header.
func CheckFollower(key kmsg.Key, version int16, body []byte) error {
	replica, err := replicaID(key, version, body)
	if err != nil {
		return err
	}
	if replica >= 0 {
		return fmt.Errorf("checking replica id: %w", ErrRefused)
	}

	return nil
}

func replicaID(key kmsg.Key, version int16, body []byte) (int32, error) {
	r := reader{src: body, flex: flexible(key, version)}
	id := int32(-1)
	switch {
	case key == kmsg.Fetch && version >= 15:
		id = fetchReplicaState(&r, version)
	case key == kmsg.Fetch, key == kmsg.ListOffsets, key == kmsg.OffsetForLeaderEpoch && version >= 3:
		id = r.i32()
	}

	if r.bad {
		return 0, malformed("replica id")
	}
	return id, nil
}

// fetchReplicaState: from v15 the replica id is in tagged field 1 at the very
// end of the request (KIP-903), behind everything else.
func fetchReplicaState(r *reader, version int16) int32 {
	c := checker{reader: *r, version: version, shape: table[kmsg.Fetch].Request}
	for pos := 0; pos < len(c.shape); {
		if c.shape[pos] == ' ' {
			pos++
			continue
		}
		pos = c.field(pos)
	}

	*r = c.reader
	id := int32(-1)
	r.eachTag(func(tag uint32, value []byte, _ int) {
		if tag == 1 {
			state := reader{src: value}
			id = state.i32()
			r.bad = r.bad || state.bad
		}
	})

	return id
}
