//go:build !linux

package gateway

// awaitBytes waits for nothing: the read that follows takes what comes.
func (in *inbox) awaitBytes(n int) int { return n }

// available tells of nothing here.
func (in *inbox) available() int { return 0 }

// peekBehind sees nothing here.
func (in *inbox) peekBehind(int, int) (prefix []byte, size int, ok bool) { return nil, 0, false }
