package cases

import (
	"strings"
	"sync"
)

// mostPrinted bounds what is kept of a guest's words for one record.
const mostPrinted = 4 << 10

// Printed is what a guest wrote to its standard output and error: its own words, which
// may hold anything. A gateway drops them.
type Printed struct {
	Text string
	More int // bytes behind the text that were not kept
}

// printed gathers the words of a sandbox's guests until a record's result takes them.
// A guest may run on another goroutine than the one that asks for the result.
type printed struct {
	mu   sync.Mutex
	text strings.Builder
	more int
}

func (p *printed) write(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()

	kept := min(len(text), mostPrinted-p.text.Len())
	p.text.Write(text[:kept])
	p.more += len(text) - kept
}

// take returns what was gathered, and begins anew.
func (p *printed) take() Printed {
	p.mu.Lock()
	defer p.mu.Unlock()

	taken := Printed{Text: p.text.String(), More: p.more}
	p.text.Reset()
	p.more = 0

	return taken
}

// add puts another's words behind these.
func (p *Printed) add(more Printed) {
	p.Text += more.Text
	p.More += more.More
}
