package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
)

// Progress is one line on a terminal that long work keeps up to date; on
// anything else it stays silent. It is not safe for concurrent use.
type Progress struct {
	w       io.Writer
	on      bool
	size    int64 // bytes expected; 0 is unknown
	records int
	bytes   int64
	start   time.Time
	drawn   time.Time
}

// NewProgress begins to count now, on w. size is how many bytes are expected, 0
// where that is not known.
func NewProgress(w io.Writer, size int64) *Progress {
	now := time.Now()
	return &Progress{
		w:     w,
		on:    IsTerminal(w),
		size:  size,
		start: now,
		drawn: now,
	}
}

// Add counts work that is done, and redraws the line five times a second at
// most.
func (p *Progress) Add(records, bytes int) {
	p.records += records
	p.bytes += int64(bytes)
	if !p.on || time.Since(p.drawn) < 200*time.Millisecond {
		return
	}
	p.drawn = time.Now()
	p.draw()
}

func (p *Progress) draw() {
	seconds := max(time.Since(p.start).Seconds(), 0.001)
	done := ""
	if p.size > 0 {
		done = fmt.Sprintf("%3d%%  ", min(100, 100*p.bytes/p.size))
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s%s records  %s  %s records/s", done, humanize.Comma(int64(p.records)),
		humanize.IBytes(uint64(p.bytes)), humanize.Comma(int64(float64(p.records)/seconds)))
}

// Clear takes the line away, so that something else can be printed. A later Add
// draws it again.
func (p *Progress) Clear() {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// Restart counts from nothing again: other work begins.
func (p *Progress) Restart() {
	p.Clear()
	p.records = 0
	p.bytes = 0
	p.start = time.Now()
}

// Finish takes the line away for good. What is added later is not drawn.
func (p *Progress) Finish() {
	p.Clear()
	p.on = false
}
