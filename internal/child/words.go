package child

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// maxWords is how much of a child's last words is worth keeping, in bytes.
const maxWords = 4 << 10

// Words keeps the beginning of what a child says when it dies.
type Words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write keeps what there is room for, and takes everything.
func (w *Words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p[:min(len(p), maxWords-w.text.Len())])

	return len(p), nil
}

// String is what was kept.
func (w *Words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// First is the first line: what follows it is a stack trace.
func (w *Words) First() string {
	first, _, _ := strings.Cut(w.String(), "\n")
	return first
}

// noMemory are the words of a program that the kernel gives no more memory: the Go runtime's, the system's, those of a
// build with the race detector, and the place where the collector reads address 0 if it got none for its queue.
var noMemory = []string{"out of memory", "cannot allocate memory", "address space collisions", "ThreadSanitizer failed to allocate",
	"runtime.(*spanQueue).tryDrain"}

// OutOfMemory reports whether the child got no more memory.
func (w *Words) OutOfMemory() bool {
	text := w.String()
	return slices.ContainsFunc(noMemory, func(words string) bool { return strings.Contains(text, words) })
}
