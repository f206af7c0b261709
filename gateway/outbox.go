package gateway

import (
	"encoding/binary"
	"fmt"
	"net"
	"unsafe"

	"github.com/guardlock/guardlock/gateway/pipeline"
)

// outbox collects frames for one write. Frames that lie side by side in memory
// become one piece, so that forwarding what one read brought costs one write.
// Owned by one goroutine.
type outbox struct {
	bufs    net.Buffers
	scratch []byte            // frames of our own making; pieces of bufs may alias it
	traces  []*pipeline.Trace // of batches whose answers are in bufs
}

// carry keeps the traces of a request's batches until its answer is written.
func (o *outbox) carry(p *produce) {
	for i := range p.parts {
		if t := p.parts[i].decided.TakeTrace(); t != nil {
			o.traces = append(o.traces, t)
		}
	}
}

// add queues bytes for the next flush. They must stay valid until then.
func (o *outbox) add(p []byte) {
	if n := len(o.bufs); n > 0 {
		last := o.bufs[n-1]
		if len(last)+len(p) <= cap(last) && unsafe.SliceData(last[:cap(last)][len(last):]) == unsafe.SliceData(p) {
			o.bufs[n-1] = last[:len(last)+len(p)]
			return
		}
	}
	o.bufs = append(o.bufs, p)
}

// frame makes a frame of our own: build appends it to the slice that it is
// given; ok false leaves nothing behind.
func (o *outbox) frame(build func(dst []byte) (out []byte, ok bool, err error)) (frame []byte, ok bool, err error) {
	start := len(o.scratch)
	out, ok, err := build(append(o.scratch, 0, 0, 0, 0))
	if err != nil || !ok {
		return nil, false, err
	}

	o.scratch = out
	binary.BigEndian.PutUint32(out[start:], uint32(len(out)-start-4))
	return out[start:], true, nil
}

// maxScratch is the scratch memory in bytes that an active connection may keep
// between two flushes.
const maxScratch = 256 << 10

// flush writes everything in as few system calls as the connection allows, and
// forgets it, whether or not that failed.
func (o *outbox) flush(to *socket) error {
	err := to.send(o.bufs)
	o.reset()
	if err != nil {
		return fmt.Errorf("writing to connection: %w", err)
	}

	return nil
}

func (o *outbox) reset() {
	clear(o.bufs)
	o.bufs = o.bufs[:0]
	if o.scratch = o.scratch[:0]; cap(o.scratch) > maxScratch {
		o.scratch = nil
	}
}
