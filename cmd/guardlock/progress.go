package main

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
)

// progress is one line on a terminal that long work keeps up to date; on
// anything else it stays silent. Not safe for concurrent use.
type progress struct {
	w       io.Writer
	on      bool
	size    int64 // bytes expected; 0 is unknown
	records int
	bytes   int64
	start   time.Time
	drawn   time.Time
}

func newProgress(w io.Writer, size int64) *progress {
	now := time.Now()
	return &progress{w: w, on: isTerminal(w), size: size, start: now, drawn: now}
}

// add counts work that is done and redraws five times a second at most.
func (p *progress) add(records, bytes int) {
	p.records += records
	p.bytes += int64(bytes)
	if !p.on || time.Since(p.drawn) < 200*time.Millisecond {
		return
	}
	p.drawn = time.Now()
	p.draw()
}

func (p *progress) draw() {
	seconds := max(time.Since(p.start).Seconds(), 0.001)
	done := ""
	if p.size > 0 {
		done = fmt.Sprintf("%3d%%  ", min(100, 100*p.bytes/p.size))
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s%s records  %s  %s records/s", done, humanize.Comma(int64(p.records)),
		humanize.IBytes(uint64(p.bytes)), humanize.Comma(int64(float64(p.records)/seconds)))
}

// clear takes the line away, so that something else can be printed.
func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// finish takes the line away for good.
func (p *progress) finish() {
	p.clear()
	p.on = false
}
