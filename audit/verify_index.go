package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/guardlock/guardlock/audit/segment"
)

// ErrIndex means that the log is whole, but the index of a segment is not what the
// segment gives: by it a query may miss decisions.
var ErrIndex = errors.New("index disagrees with its segment")

// What verification finds of a segment's index.
const (
	IndexFits      = "fits"
	IndexDamaged   = "damaged" // no query believes it
	IndexDisagrees = "disagrees"
)

// compareIndex makes the index of a segment that was walked to its footer, and
// compares it with the one that lies there. It uses none.
func (v *verifier) compareIndex(k *segment.Walk) (string, error) {
	s := &sealed{
		hdr:   k.Header,
		seal:  v.state.sum,
		chain: k.Chain,
		at:    k.Last,
		size:  k.Off + segment.FooterSize,
	}

	want := v.chart.encode(s)
	got, err := readIndex(v.files, k.Header.Number, len(want))

	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case bytes.Equal(got, want):
		return IndexFits, nil
	case believed(s, got):
		return IndexDisagrees, nil
	}

	return IndexDamaged, nil
}

// readIndex reads no more than shows that a file is longer than it should be.
func readIndex(d segment.Files, number uint32, size int) ([]byte, error) {
	f, err := d.Open(indexName(number), false)
	if err != nil {
		return nil, fmt.Errorf("opening index of segment %d: %w", number, err)
	}

	defer f.Close()
	b := make([]byte, size+pageSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading index of segment %d: %w", number, err)
	}

	return b[:n], nil
}

// believed reports whether queries would use an index: it names its segment and
// its checksums are right.
func believed(s *sealed, raw []byte) bool {
	x, err := openIndex(s, bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return false
	}

	for pages := x.pagesOf(raw); len(pages) > 0; pages = pages[pageSize:] {
		if _, err := openPage(pages[:pageSize]); err != nil {
			return false
		}
	}

	return true
}

// indexes is the fault of those that disagree with their segments.
func (v *verifier) indexes() error {
	var names []string
	for _, s := range v.report.Segments {
		if s.Index == IndexDisagrees {
			names = append(names, indexName(s.Number))
		}
	}

	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrIndex, strings.Join(names, ", "))
}
