package audit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// fillStep is how much of a segment is filled with zeros at a time. A frame
// that overwrites zeros needs no metadata flushed with it.
const fillStep = 1 << 20

const tempName = "next.tmp"

// committer writes chunks. One goroutine owns it.
type committer struct {
	files  files
	limit  int64
	noSync bool

	hdr    header
	file   file
	off    int64 // where the next frame goes
	filled int64 // zeros or frames up to here
	chain  chainValue
	buf    []byte

	mark    file
	markBuf [markSize]byte
	zeros   []byte
}

// commit makes one chunk durable. Crash points: until append returns the frame
// may be there, in part or not at all; replay cuts it or keeps it, and no
// ticket has resolved. Between append and mark it is kept.
func (c *committer) commit(ch *chunk) (mark, error) {
	if ch.seal != nil {
		if err := c.roll(ch.seal, ch.seq); err != nil {
			return mark{}, err
		}
	}
	var chain chainValue
	c.buf, chain = appendFrame(c.buf[:0], c.hdr.marker, c.chain, 0, ch.head, ch.defs, ch.entries)
	if err := c.put(); err != nil {
		return mark{}, err
	}
	c.chain = chain
	m := mark{segment: c.hdr.number, end: c.off, nextSeq: ch.next, chain: chain}
	return m, c.publish(&m)
}

// put writes buf at off, with zeros ahead of it where there are none yet.
func (c *committer) put() error {
	end := c.off + int64(len(c.buf))
	if end > c.filled {
		if err := c.fill(end); err != nil {
			return fmt.Errorf("filling segment %d: %w", c.hdr.number, err)
		}
	}
	if err := c.append(); err != nil {
		return fmt.Errorf("writing segment %d: %w", c.hdr.number, err)
	}
	c.off = end
	return nil
}

func (c *committer) append() error {
	if !c.noSync {
		return c.file.append(c.buf, c.off)
	}
	_, err := c.file.WriteAt(c.buf, c.off)
	return err
}

func (c *committer) fill(end int64) error {
	upTo := max(end, min(end+fillStep, c.limit))
	if c.zeros == nil {
		c.zeros = make([]byte, min(fillStep, c.limit))
	}
	for at := end; at < upTo; {
		n := min(upTo-at, int64(len(c.zeros)))
		if _, err := c.file.WriteAt(c.zeros[:n], at); err != nil {
			return err
		}
		at += n
	}
	c.filled = upTo
	return c.flush(c.file) // a frame that goes past the page cache shall find its blocks on disk
}

func (c *committer) flush(f file) error {
	if c.noSync {
		return nil
	}
	return f.datasync()
}

func (c *committer) publish(m *mark) error {
	m.encode(&c.markBuf)
	if _, err := c.mark.WriteAt(c.markBuf[:], 0); err != nil {
		return fmt.Errorf("writing committed mark: %w", err)
	}
	return nil
}

// roll seals the segment and begins the next. Crash points: with half a seal,
// replay cuts it and goes on in the old segment; with the seal but no new
// segment, replay makes one; a file under its final name always has its header.
func (c *committer) roll(seal []byte, firstSeq uint64) error {
	if err := c.sealSegment(seal); err != nil {
		return fmt.Errorf("sealing segment %d: %w", c.hdr.number, err)
	}
	if err := c.file.Close(); err != nil {
		return fmt.Errorf("closing segment %d: %w", c.hdr.number, err)
	}
	return c.begin(firstSeq)
}

func (c *committer) sealSegment(seal []byte) error {
	sealAt := c.off
	var chain chainValue
	c.buf, chain = appendFrame(c.buf[:0], c.hdr.marker, c.chain, flagSeal, seal)
	c.buf = appendFooter(c.buf, sealAt)
	if err := c.put(); err != nil {
		return err
	}
	c.chain = chain
	return c.trim()
}

// trim gives back the zeros behind the footer.
func (c *committer) trim() error {
	if err := c.file.truncate(c.off); err != nil {
		return err
	}
	if c.noSync {
		return nil
	}
	return c.file.sync()
}

// begin makes the segment after hdr.number.
func (c *committer) begin(firstSeq uint64) error {
	c.hdr.number++
	c.hdr.firstSeq, c.hdr.prev = firstSeq, c.chain
	if _, err := rand.Read(c.hdr.marker[:]); err != nil {
		return fmt.Errorf("drawing frame marker: %w", err)
	}
	f, err := c.newSegmentFile()
	if err != nil {
		return fmt.Errorf("beginning segment %d: %w", c.hdr.number, err)
	}
	c.file, c.off, c.filled, c.chain = f, headerSize, headerSize, c.hdr.chain()
	return nil
}

func (c *committer) newSegmentFile() (file, error) {
	f, err := c.files.create(tempName)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (c *committer) prepare(f file) error {
	if err := f.reserve(c.limit); err != nil {
		return err
	}
	if _, err := f.WriteAt(c.hdr.encode(), 0); err != nil {
		return err
	}
	if err := c.flush(f); err != nil {
		return err
	}
	if err := c.files.rename(tempName, segmentName(c.hdr.number)); err != nil {
		return err
	}
	if c.noSync {
		return nil
	}
	return c.files.syncDir()
}

// openMark opens the mark file, making it if need be.
func openMark(d files) (file, error) {
	f, err := d.open(markName, true)
	if errors.Is(err, fs.ErrNotExist) {
		return d.create(markName)
	}
	return f, err
}

func (c *committer) close() error {
	return errors.Join(closeIf(c.file), closeIf(c.mark))
}

func closeIf(f io.Closer) error {
	if f == nil {
		return nil
	}
	return f.Close()
}
