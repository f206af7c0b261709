package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// PeekProduce reads how a Produce body begins, of which not all may be there
// yet. ok is true for a request of one topic whose name or id was read; the
// name is a view into prefix.
func PeekProduce(version int16, prefix []byte) (topic ProduceTopic, acks int16, ok bool) {
	r := reader{src: prefix, flex: flexible(kmsg.Produce, version)}
	r.str()
	acks = r.i16()
	r.skip(4)
	// The array's length is read as it stands: arrayLen would hold it against
	// bytes that are still to come.
	var n int32

	if r.flex {
		n = int32(r.uvarint()) - 1
	} else {
		n = r.i32()
	}

	if version >= produceByID {
		topic.ID = r.uuid()
	} else {
		topic.Name = r.str()
	}

	return topic, acks, !r.bad && n == 1
}
