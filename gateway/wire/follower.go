package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A replica id says as what a request reads. Only consumers' grant no more than
// a client has: brokers let any other read past the high watermark, and move it.
const (
	consumerReplica = -1
	// debuggingReplica is Kafka's own tools'. Fetch and OffsetForLeaderEpoch take
	// it for a consumer's; ListOffsets does not.
	debuggingReplica = -2
)

// SpeakAsConsumer keeps a request from speaking as a replica. In ListOffsets and
// OffsetForLeaderEpoch the replica id is overwritten with a consumer's, where it
// lies: kafka-python 3.0.0 to 3.0.11 sends 0, for no reason, and asks for ever
// when it is cut off. A Fetch with a replica's id is refused: whoever sends that
// wants what replicas get. Other APIs pass. body is behind the header.
func SpeakAsConsumer(key kmsg.Key, version int16, body []byte) error {
	switch {
	case key == kmsg.Fetch:
		return refuseFollower(version, body)
	case key == kmsg.ListOffsets:
		return overwriteReplica(body, false)
	case key == kmsg.OffsetForLeaderEpoch && version >= 3:
		return overwriteReplica(body, true)
	}
	return nil
}

func refuseFollower(version int16, body []byte) error {
	replica, err := fetchReplica(version, body)
	if err != nil {
		return err
	}
	if replica != consumerReplica && replica != debuggingReplica {
		return fmt.Errorf("checking replica id %d: %w", replica, ErrRefused)
	}

	return nil
}

// overwriteReplica writes a consumer's id over the replica id that body begins
// with: no client of ours is a follower.
func overwriteReplica(body []byte, debugging bool) error {
	r := reader{src: body}
	id := r.i32()
	if r.bad {
		return malformed("replica id")
	}
	if id == debuggingReplica && debugging {
		return nil
	}

	appendI32(body[:0], consumerReplica)
	return nil
}

func fetchReplica(version int16, body []byte) (int32, error) {
	r := reader{src: body, flex: flexible(kmsg.Fetch, version)}
	var id int32
	if version >= 15 {
		id = fetchReplicaState(&r, version)
	} else {
		id = r.i32()
	}

	if r.bad {
		return 0, malformed("replica id")
	}
	return id, nil
}

// fetchReplicaState finds the replica id of requests from v15 on, where it is
// in tagged field 1 at the very end (KIP-903), behind everything else.
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
