package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Addresses is the gateway's view of the cluster. Advertise returns what a
// client is to be told instead of a broker's own address. It is called for
// every address in a response; an error fails the response, since an address
// that is not replaced is a way around the gateway. The port behind
// the answer must accept connections before Advertise returns. Safe
// for use by many connections.
type Addresses interface {
	Advertise(node int32, host string, port int32) (string, int32, error)
}

// TopicIDs remembers the names of topic ids (KIP-516). An id belongs to one
// name for good: a re-created topic has another id, so nothing is forgotten
// here. Safe for use by many connections.
type TopicIDs interface {
	Learn(id [16]byte, name string)
	// Name returns false for an id that was never seen; it must then be
	// resolved or refused, never let through.
	Name(id [16]byte) (string, bool)
	// Led is told which broker leads a partition of a topic, in which epoch; -1 is none.
	Led(name []byte, partition, node, epoch int32)
	// Missing is told of a name that a client asked for and the cluster does not have.
	Missing(name []byte)
}

// RewriteResponse replaces what a client must not see in a response frame and
// learns topic ids from it (t may be nil). If anything had to change, the new
// frame is appended to dst; otherwise dst comes back as it was and the frame
// can be sent as it is. A response that needs reading and cannot be read is an
// error: it may not be passed on.
//
// Node ids stay as they are: one upstream cluster stands behind a listener.
// ApiVersions has its own function.
func RewriteResponse(dst []byte, key kmsg.Key, version int16, frame []byte, a Addresses, t TopicIDs) (out []byte, changed bool, err error) {
	read := responseReader(key, version)
	if read == nil {
		return dst, false, nil
	}

	_, body, err := ParseResponseHeader(key, version, frame)
	if err != nil {
		return dst, false, err
	}

	w := rewriter{
		reader:    reader{src: frame, off: body, flex: flexible(key, version)},
		version:   version,
		addresses: a,
		topics:    t,
		out:       dst,
	}

	read(&w)
	if w.err != nil {
		return dst, false, w.err
	}
	if w.bad || w.off != len(frame) {
		return dst, false, malformed("response")
	}
	if w.copied == 0 {
		return dst, false, nil
	}

	return append(w.out, frame[w.copied:]...), true, nil
}

// responseReader is the one list of responses that are read for addresses,
// topic ids or settings.
func responseReader(key kmsg.Key, version int16) func(*rewriter) {
	switch {
	case key == kmsg.Metadata:
		return (*rewriter).metadata
	case key == kmsg.FindCoordinator:
		return (*rewriter).findCoordinator
	case key == kmsg.DescribeCluster:
		return (*rewriter).describeCluster
	case key == kmsg.DescribeConfigs:
		return (*rewriter).describeConfigs
	case key == kmsg.Produce && version >= 9:
		return (*rewriter).produce
	case key == kmsg.Fetch && version >= 12:
		return (*rewriter).fetch
	case key == kmsg.ShareFetch:
		return (*rewriter).shareFetch
	case key == kmsg.ShareAcknowledge:
		return (*rewriter).shareAcknowledge
	case key == kmsg.CreateTopics && version >= 7:
		return (*rewriter).createTopics
	case key == kmsg.DescribeTopicPartitions:
		return (*rewriter).topicPartitions
	}
	return nil
}

// rewriter reads a frame and, from the first replacement on, writes one. While
// nothing is replaced nothing is copied.
type rewriter struct {
	reader
	version   int16
	addresses Addresses
	topics    TopicIDs
	out       []byte
	copied    int // frame bytes that are in out already; 0 while nothing changed
	err       error
}

func (w *rewriter) ok() bool { return !w.bad && w.err == nil }

// upTo copies the frame up to off, as far as it was not copied before, so that
// a replacement can follow.
func (w *rewriter) upTo(off int) {
	w.out = append(w.out, w.src[w.copied:off]...)
	w.copied = off
}

// address reads host and port of a node and replaces them. Node -1, which
// FindCoordinator answers on errors, is nobody; its host is blanked all the
// same should it not be empty.
func (w *rewriter) address(node int32) {
	start := w.off
	host := w.str()
	port := w.i32()

	if !w.ok() {
		return
	}
	newHost := ""
	newPort := port

	if node >= 0 {
		newHost, newPort, w.err = w.addresses.Advertise(node, string(host), port)
	}
	if w.err != nil {
		w.err = fmt.Errorf("advertising node %d: %w", node, w.err)
		return
	}

	if string(host) == newHost && port == newPort {
		return
	}
	w.upTo(start)
	w.out = appendStr(w.out, []byte(newHost), w.flex)
	w.out = appendI32(w.out, newPort)
	w.copied = w.off
}

// brokers reads an array of node id, host, port, a rack if there is one, and
// KIP-1073's is_fenced if there is one.
func (w *rewriter) brokers(rack, fenced bool) {
	for n := w.arrayLen(10); n > 0 && w.ok(); n-- {
		w.address(w.i32())
		if rack {
			w.str()
		}
		if fenced {
			w.skip(1)
		}

		w.tags()
	}
}

// metadata replaces the brokers' addresses and learns the topics' ids.
func (w *rewriter) metadata() {
	if w.version >= 3 {
		w.skip(4) // throttle_time_ms
	}
	w.brokers(w.version >= 1, false)
	if w.version >= 2 {
		w.str() // cluster_id
	}
	if w.version >= 1 {
		w.skip(4) // controller_id
	}

	for n := w.arrayLen(6); n > 0 && w.ok(); n-- {
		w.metadataTopic()
	}
	if w.version >= 8 && w.version <= 10 {
		w.skip(4) // cluster_authorized_operations
	}
	if w.version >= 13 {
		w.skip(2) // error_code
	}

	w.tags()
}

// metadataTopic reads one topic, and learns its id where there is no error.
func (w *rewriter) metadataTopic() {
	code := w.i16()
	name := w.str()
	var id [16]byte

	if w.version >= 10 {
		id = w.uuid()
	}
	if w.version >= 1 {
		w.skip(1) // is_internal
	}

	for n := w.arrayLen(18); n > 0 && w.ok(); n-- {
		w.metadataPartition(name)
	}
	if w.version >= 8 {
		w.skip(4) // topic_authorized_operations
	}

	w.tags()
	w.learn(code, id, name)
}

// metadataPartition reads one partition, and tells who leads it.
func (w *rewriter) metadataPartition(topic []byte) {
	w.skip(2) // error_code
	partition := w.i32()
	node := w.i32()
	epoch := int32(-1)
	if w.version >= 7 {
		epoch = w.i32()
	}
	if w.topics != nil && w.ok() && len(topic) > 0 && epoch >= 0 {
		w.topics.Led(topic, partition, node, epoch)
	}

	w.ids()
	w.ids()
	if w.version >= 5 {
		w.ids()
	}

	w.tags()
}

// ids steps over an array of node ids, which clients may see: they are not
// addresses.
func (w *rewriter) ids() {
	if n := w.arrayLen(4); n > 0 {
		w.skip(4 * n)
	}
}

func (w *rewriter) learn(code int16, id [16]byte, name []byte) {
	if w.topics != nil && w.ok() && code == kerr.UnknownTopicOrPartition.Code && len(name) > 0 {
		w.topics.Missing(name)
	}
	if w.topics != nil && w.ok() && code == 0 && len(name) > 0 && id != ([16]byte{}) {
		w.topics.Learn(id, string(name))
	}
}

// findCoordinator replaces the coordinator's address, of which later versions
// have one for each key.
func (w *rewriter) findCoordinator() {
	if w.version >= 1 {
		w.skip(4) // throttle_time_ms
	}
	if w.version >= 4 {
		w.coordinators()
	} else {
		w.skip(2) // error_code
		if w.version >= 1 {
			w.str() // error_message
		}
		w.address(w.i32())
	}

	w.tags()
}

func (w *rewriter) coordinators() {
	for n := w.arrayLen(14); n > 0 && w.ok(); n-- {
		w.str() // key
		w.address(w.i32())
		w.skip(2) // error_code
		w.str()   // error_message
		w.tags()
	}
}

func (w *rewriter) describeCluster() {
	w.skip(4 + 2) // throttle_time_ms, error_code
	w.str()       // error_message
	if w.version >= 1 {
		w.skip(1) // endpoint_type
	}

	w.str()   // cluster_id
	w.skip(4) // controller_id
	w.brokers(true, w.version >= 2)
	w.skip(4) // cluster_authorized_operations
	w.tags()
}
