package audit

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/guardlock/guardlock/audit/segment"
)

// SegmentReport is what VerifyChain found in one segment.
type SegmentReport struct {
	Number    uint32 `json:"number"`
	FirstSeq  uint64 `json:"first_seq"`
	NextSeq   uint64 `json:"next_seq"`
	Frames    int    `json:"frames"`
	Batches   uint64 `json:"batches"`
	Decisions uint64 `json:"decisions"`
	Sealed    bool   `json:"sealed"`
	Node      string `json:"node"`
	KeyID     string `json:"key_id"`
	Chain     string `json:"chain"` // at its end
}

// Report is what VerifyChain found.
type Report struct {
	Segments  []SegmentReport `json:"segments"`
	Frames    int             `json:"frames"`
	Batches   uint64          `json:"batches"`
	Decisions uint64          `json:"decisions"`
	NextSeq   uint64          `json:"next_seq"`
	Chain     string          `json:"chain"`
	Unbound   int             `json:"unbound"`    // forwarded batches without an answer
	TornBytes int64           `json:"torn_bytes"` // behind the last frame; the next Open cuts them
}

// VerifyChain reads the whole log in dir and checks every checksum, chain
// value, entry, seal and link. While a gateway writes, it goes to the durable
// end. The report says how far it came; the error is ErrCorrupt for bytes that
// are not what was committed.
func VerifyChain(dir string) (Report, error) {
	d := segment.Disk{Dir: dir}
	report, err := VerifyFiles(d)
	if err != nil {
		err = fmt.Errorf("verifying audit log %s: %w", dir, err)
	}
	return report, err
}

func VerifyFiles(d segment.Files) (Report, error) {
	v := verifier{files: d}
	var err error
	if v.mark, err = CommittedMark(d); err != nil {
		return v.report, err
	}

	if v.live = v.mark != nil; !v.live {
		m, ok, err := segment.ReadMark(d)
		if err != nil {
			return v.report, fmt.Errorf("reading committed mark: %w", err)
		}
		if ok {
			v.mark = &m
		}
	}

	err = v.run()
	return v.report, err
}

type verifier struct {
	files  segment.Files
	mark   *segment.Mark // nil if there is none
	live   bool          // a gateway writes: the mark is the end
	state  *state
	report Report
}

func (v *verifier) run() error {
	all, err := segment.Numbers(v.files)
	if err != nil {
		return err
	}
	if v.mark != nil && int(v.mark.Segment) > len(all) {
		return fmt.Errorf("%w: segment %d is missing: the committed mark names it", ErrCorrupt, v.mark.Segment)
	}
	if v.live {
		all = all[:v.mark.Segment]
	}

	v.state = newState(1)
	prev := segment.Link{NextSeq: 1}
	for i, n := range all {
		if prev, err = v.segment(n, prev, i == len(all)-1); err != nil {
			return err
		}
	}

	v.report.Chain = hex.EncodeToString(prev.Chain[:])
	v.report.NextSeq = v.state.seq
	v.report.Unbound = len(v.state.open)
	return nil
}

func (v *verifier) segment(n uint32, prev segment.Link, last bool) (segment.Link, error) {
	f, err := v.files.Open(segment.Name(n), false)
	if err != nil {
		return segment.Link{}, fmt.Errorf("opening segment %d: %w", n, err)
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return segment.Link{}, fmt.Errorf("sizing segment %d: %w", n, err)
	}
	if last && v.live {
		size = min(size, v.mark.End)
	}

	k, err := segment.NewWalk(segment.NewWindow(f, size), n)
	if err != nil {
		return segment.Link{}, err
	}
	if err := prev.Follows(&k.Header); err != nil {
		return segment.Link{}, err
	}

	v.state.beginSegment()
	if v.mark != nil && v.mark.Segment == n {
		k.Mark = v.mark
	}
	if err := k.Run(v.state.apply); err != nil {
		return segment.Link{}, err
	}
	if err := v.end(k, last); err != nil {
		return segment.Link{}, err
	}

	v.add(k)
	return segment.Link{
		Number:  n,
		NextSeq: v.state.seq,
		Chain:   k.Chain,
		LogID:   k.Header.LogID,
	}, nil
}

func (v *verifier) end(k *segment.Walk, last bool) error {
	if k.Sealed {
		footed, err := k.Footer()
		if err == nil && !footed && !last {
			err = segment.Corrupt(k.Header.Number, k.Off, "footer is missing or damaged")
		}
		return errors.Join(err, k.MetMark())
	}

	torn, err := k.Tail()
	if err != nil {
		return err
	}
	if !last {
		return segment.Corrupt(k.Header.Number, k.Off, "not sealed, though a later segment exists")
	}

	v.report.TornBytes = torn
	return k.MetMark()
}

func (v *verifier) add(k *segment.Walk) {
	s := v.state.sum
	v.report.Segments = append(v.report.Segments, SegmentReport{
		Number:    k.Header.Number,
		FirstSeq:  k.Header.FirstSeq,
		NextSeq:   s.NextSeq,
		Frames:    k.Frames,
		Batches:   s.batches,
		Decisions: s.decisions,
		Sealed:    k.Sealed,
		Node:      k.Header.Node,
		KeyID:     hex.EncodeToString(k.Header.KeyID[:]),
		Chain:     hex.EncodeToString(k.Chain[:]),
	})

	v.report.Frames += k.Frames
	v.report.Batches += s.batches
	v.report.Decisions += s.decisions
}
