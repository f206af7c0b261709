// Package wire is everything about Kafka requests and responses that is pure:
// bytes in, bytes out. It opens no socket and starts no goroutine.
//
// A frame is what follows the four length bytes of the Kafka protocol. Frames
// from clients are hostile until checked here: every length and count is held
// against the bytes that are really there before anything is allocated or
// looped over. Frames from the upstream cluster are trusted in what they say
// and checked in how they say it, to the last byte; what must not pass on to a
// client (addresses of brokers, features that our table caps) is replaced here.
//
// table.go is the one list of what a client may send. Produce, the record walk
// of Fetch and ShareFetch, the headers and every response that carries an
// address are read by hand: no allocation, and fields that we do not know are
// copied as they came. kmsg decodes only what is rare and was checked by
// CheckRequest first: its readers loop over tag counts read off the wire (five
// hostile bytes cost it over a minute) and panic on keys that they do not know.
package wire

import (
	"errors"
	"fmt"
)

// What can be wrong with a frame. Callers branch on these with errors.Is, and
// each is wrapped by what was read or checked.
var (
	// ErrMalformed means that lengths or counts disagree with the bytes. The
	// connection is not worth keeping.
	ErrMalformed = errors.New("malformed frame")
	// ErrRefused means that the API is not for clients of this gateway. Kafka
	// has no answer for it that every client reads: close the connection.
	ErrRefused = errors.New("API is not served to clients")
	// ErrUnsupportedVersion means that the API is served, but not in that
	// version. ApiVersions is answered with UnsupportedApiVersions, the rest
	// closed.
	ErrUnsupportedVersion = errors.New("API version is not served")
	// ErrDuplicate means that a Produce request names a partition twice.
	// Brokers keep one of the two and drop the other silently, which no
	// decision survives.
	ErrDuplicate = errors.New("partition named twice in one request")
	// ErrTooLarge means that the frame is beyond what may be decoded outside
	// the hot path, or has more entries than MaxEntries.
	ErrTooLarge = errors.New("frame too large to decode")
)

// malformed says which part of a frame did not fit. It never quotes bytes,
// which are the client's.
func malformed(part string) error { return fmt.Errorf("reading %s: %w", part, ErrMalformed) }
