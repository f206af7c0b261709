package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
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
	d := diskFiles{dir: dir}
	report, err := verify(d)
	if err != nil {
		err = fmt.Errorf("verifying audit log %s: %w", dir, err)
	}
	return report, err
}

func verify(d files) (Report, error) {
	v := verifier{files: d}
	var err error
	if v.mark, err = committedMark(d); err != nil {
		return v.report, err
	}
	if v.live = v.mark != nil; !v.live {
		m, ok, err := readMark(d)
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
	files  files
	mark   *mark // nil if there is none
	live   bool  // a gateway writes: the mark is the end
	state  *state
	report Report
}

func (v *verifier) run() error {
	all, err := numbers(v.files)
	if err != nil {
		return err
	}
	if v.mark != nil && int(v.mark.segment) > len(all) {
		return fmt.Errorf("%w: segment %d is missing: the committed mark names it", ErrCorrupt, v.mark.segment)
	}
	if v.live {
		all = all[:v.mark.segment]
	}
	v.state = newState(1)
	prev := link{nextSeq: 1}
	for i, n := range all {
		if prev, err = v.segment(n, prev, i == len(all)-1); err != nil {
			return err
		}
	}
	v.report.Chain = hex.EncodeToString(prev.chain[:])
	v.report.NextSeq, v.report.Unbound = v.state.seq, len(v.state.open)
	return nil
}

func (v *verifier) segment(n uint32, prev link, last bool) (link, error) {
	f, err := v.files.open(segmentName(n), false)
	if err != nil {
		return link{}, fmt.Errorf("opening segment %d: %w", n, err)
	}
	defer f.Close()
	size, err := f.size()
	if err != nil {
		return link{}, fmt.Errorf("sizing segment %d: %w", n, err)
	}
	if last && v.live {
		size = min(size, v.mark.end)
	}
	k, err := newWalk(newWindow(f, size), n)
	if err != nil {
		return link{}, err
	}
	if err := prev.follows(&k.hdr); err != nil {
		return link{}, err
	}
	v.state.beginSegment()
	if v.mark != nil && v.mark.segment == n {
		k.mark = v.mark
	}
	if err := k.run(v.state); err != nil {
		return link{}, err
	}
	if err := v.end(k, last); err != nil {
		return link{}, err
	}
	v.add(k)
	return link{number: n, nextSeq: v.state.seq, chain: k.chain, logID: k.hdr.logID}, nil
}

func (v *verifier) end(k *walk, last bool) error {
	if k.sealed {
		footed, err := k.footer()
		if err == nil && !footed && !last {
			err = corrupt(k.hdr.number, k.off, "footer is missing or damaged")
		}
		return errors.Join(err, k.metMark())
	}
	torn, err := k.tail()
	if err != nil {
		return err
	}
	if !last {
		return corrupt(k.hdr.number, k.off, "not sealed, though a later segment exists")
	}
	v.report.TornBytes = torn
	return k.metMark()
}

func (v *verifier) add(k *walk) {
	s := v.state.sum
	v.report.Segments = append(v.report.Segments, SegmentReport{Number: k.hdr.number, FirstSeq: k.hdr.firstSeq,
		NextSeq: s.nextSeq, Frames: k.frames, Batches: s.batches, Decisions: s.decisions, Sealed: k.sealed,
		Node: k.hdr.node, KeyID: hex.EncodeToString(k.hdr.keyID[:]), Chain: hex.EncodeToString(k.chain[:])})
	v.report.Frames += k.frames
	v.report.Batches += s.batches
	v.report.Decisions += s.decisions
}
