// Command NAME is a module that masks numbers that may be of payment cards.
//
// Each run of 12 to 19 digits in a value becomes stars, but for its last digits: as
// many as the configuration says, a number from 0 to 8 (default 4). The header "masked"
// then says how many there were. A value with a zero byte is refused, one with the
// header "no-store" is dropped, one whose key begins with "test-" goes to the first
// topic of the grant's routes. A tombstone passes.
//
// It is a beginning: write what your records need, and change cases/mask.yaml with it.
package main

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
)

// The reasons are a closed list, which is part of the signed bytes.
var (
	masked  = guardlock.NewReason("mask.masked")
	binary  = guardlock.NewReason("mask.binary")
	noStore = guardlock.NewReason("mask.no_store")
	test    = guardlock.NewReason("mask.test")
)

func init() { guardlock.Export(&mask{keep: 4}) }

// main is never called, but a Go program has one.
func main() {}

type mask struct {
	keep int
}

var errNoDigit = errors.New("it is not a number from 0 to 8")

// Configure takes the configuration, which is JSON by convention.
func (m *mask) Configure(config []byte) error {
	switch {
	case len(config) == 0:
		return nil
	case len(config) > 1 || config[0] < '0' || config[0] > '8':
		return errNoDigit
	}

	m.keep = int(config[0] - '0')
	return nil
}

// Apply decides about one record.
func (m *mask) Apply(r *guardlock.Record) guardlock.Verdict {
	if _, found := r.Header("no-store"); found {
		return guardlock.Drop(noStore)
	}
	if r.Value() == nil {
		return guardlock.Pass
	}
	if bytes.IndexByte(r.Value(), 0) >= 0 {
		return guardlock.Reject(binary)
	}

	count := maskDigits(r.Value(), m.keep)
	if count > 0 {
		var digits [10]byte
		r.SetHeader("masked", strconv.AppendInt(digits[:0], int64(count), 10))
	}
	if bytes.HasPrefix(r.Key(), []byte("test-")) {
		return guardlock.Route(0, test)
	}
	if count > 0 {
		return guardlock.Modify(masked)
	}

	return guardlock.Pass
}

// maskDigits masks the runs of digits in a text, where they lie, and counts them.
func maskDigits(text []byte, keep int) int {
	count := 0
	for start := 0; start < len(text); {
		end := start
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		if run := end - start; run >= 12 && run <= 19 {
			for n := start; n < end-keep; n++ {
				text[n] = '*'
			}
			count++
		}
		start = end + 1
	}

	return count
}
