package segment

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// fillStep is how much of a segment is filled with zeros at a time. A frame
// that overwrites zeros needs no metadata flushed with it.
const fillStep = 1 << 20

const tempName = "next.tmp"

// Committer writes chunks. One goroutine owns it.
type Committer struct {
	Files  Files
	Limit  int64
	NoSync bool

	Header  Header
	Key     *Key // of the segment that is written; Header may name NextKey already
	NextKey *Key // of segments that are begun from now on
	File    File
	Off     int64 // where the next frame goes
	Filled  int64 // zeros or frames up to here
	Chain   Chain
	buf     []byte
	zeros   []byte

	Mark File
	markPlace
}

// markPlace is what the committer wrote into the mark last, and where.
type markPlace struct {
	markAt   int64
	markBuf  [markSize]byte
	markRead [markSize]byte
}

// Commit is what one frame is made of.
type Commit struct {
	Seal     []byte // not nil: seals the segment first, and the frame goes to the next
	FirstSeq uint64
	NextSeq  uint64
	Payload  [3][]byte // parts, one behind the other
}

// Commit makes one frame durable. Crash points: until append returns the frame
// may be there, in part or not at all; replay cuts it or keeps it, and no
// ticket has resolved. Between append and mark it is kept.
func (c *Committer) Commit(in *Commit) (Mark, error) {
	if in.Seal != nil {
		if err := c.Roll(in.Seal, in.FirstSeq); err != nil {
			return Mark{}, err
		}
	}

	var chain Chain
	c.buf, chain = AppendFrame(c.buf[:0], &c.Header, c.Key, c.Chain, 0, in.Payload[:]...)
	if err := c.put(); err != nil {
		return Mark{}, err
	}
	if err := c.stillOurs(); err != nil {
		return Mark{}, err
	}

	c.Chain = chain
	m := Mark{
		Segment: c.Header.Number,
		End:     c.Off,
		NextSeq: in.NextSeq,
		Chain:   chain,
	}

	return m, c.Publish(&m)
}

// put writes buf at off, with zeros ahead of it where there are none yet.
func (c *Committer) put() error {
	end := c.Off + int64(len(c.buf))
	if end > c.Filled {
		if err := c.fill(end); err != nil {
			return fmt.Errorf("filling segment %d: %w", c.Header.Number, err)
		}
	}

	if err := c.append(); err != nil {
		return fmt.Errorf("writing segment %d: %w", c.Header.Number, err)
	}
	c.Off = end
	return nil
}

func (c *Committer) append() error {
	if !c.NoSync {
		return c.File.AppendDurable(c.buf, c.Off)
	}
	_, err := c.File.WriteAt(c.buf, c.Off)
	return err
}

func (c *Committer) fill(end int64) error {
	upTo := max(end, min(end+fillStep, c.Limit))
	if c.zeros == nil {
		c.zeros = make([]byte, min(fillStep, c.Limit))
	}

	for at := end; at < upTo; {
		n := min(upTo-at, int64(len(c.zeros)))
		if _, err := c.File.WriteAt(c.zeros[:n], at); err != nil {
			return err
		}
		at += n
	}

	c.Filled = upTo
	return c.Flush(c.File) // a frame that goes past the page cache shall find its blocks on disk
}

func (c *Committer) Flush(f File) error {
	if c.NoSync {
		return nil
	}
	return f.Datasync()
}

// Roll seals the segment and begins the next. Crash points: with half a seal,
// replay cuts it and goes on in the old segment; with the seal but no new
// segment, replay makes one; a file under its final name always has its header.
func (c *Committer) Roll(seal []byte, firstSeq uint64) error {
	if err := c.sealSegment(seal); err != nil {
		return fmt.Errorf("sealing segment %d: %w", c.Header.Number, err)
	}
	if err := c.stillOurs(); err != nil {
		return err
	}
	return c.BeginNext(firstSeq)
}

// BeginNext begins the segment behind one that is sealed, and then closes that: a
// writer always holds the lock of the last segment.
func (c *Committer) BeginNext(firstSeq uint64) error {
	sealed := c.File
	number := c.Header.Number
	c.File = nil
	err := c.Begin(firstSeq)

	if closeErr := sealed.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("closing segment %d: %w", number, closeErr))
	}
	return err
}

func (c *Committer) sealSegment(seal []byte) error {
	sealAt := c.Off
	var chain Chain
	c.buf, chain = AppendFrame(c.buf[:0], &c.Header, c.Key, c.Chain, flagSeal, seal)
	c.buf = AppendFooter(c.buf, sealAt)

	if err := c.put(); err != nil {
		return err
	}
	c.Chain = chain
	return c.Trim()
}

// Trim gives back the zeros behind the footer.
func (c *Committer) Trim() error {
	if err := c.File.Truncate(c.Off); err != nil {
		return err
	}
	if c.NoSync {
		return nil
	}
	return c.File.Sync()
}

// Begin makes the segment after hdr.number.
func (c *Committer) Begin(firstSeq uint64) error {
	c.Key = c.NextKey
	c.Header.Version = Current
	c.Header.KeyID = c.Key.ID
	c.Header.Number++
	c.Header.FirstSeq = firstSeq
	c.Header.prev = c.Chain

	if _, err := rand.Read(c.Header.Marker[:]); err != nil {
		return fmt.Errorf("drawing frame marker: %w", err)
	}
	f, err := c.newSegmentFile()
	if err != nil {
		return fmt.Errorf("beginning segment %d: %w", c.Header.Number, err)
	}

	c.File, c.Off, c.Filled, c.Chain = f, HeaderSize, HeaderSize, c.Header.Chain()
	return nil
}

func (c *Committer) newSegmentFile() (File, error) {
	f, err := c.Files.Create(tempName)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}

	return f, nil
}

// prepare locks the segment before anybody can see it.
func (c *Committer) prepare(f File) error {
	if err := f.Lock(); err != nil {
		return err
	}
	if err := f.Reserve(c.Limit); err != nil {
		return err
	}
	if _, err := f.WriteAt(c.Header.Encode(), 0); err != nil {
		return err
	}
	if err := c.Flush(f); err != nil {
		return err
	}
	if err := c.Files.RenameNew(tempName, Name(c.Header.Number)); err != nil {
		return err
	}
	if c.NoSync {
		return nil
	}

	return c.Files.SyncDir()
}

func (c *Committer) Close() error {
	return errors.Join(CloseIf(c.File), CloseIf(c.Mark))
}

// CloseIf closes what is there.
func CloseIf(f io.Closer) error {
	if f == nil {
		return nil
	}
	return f.Close()
}
