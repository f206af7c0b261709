// Package guardlock is for writing Guardlock transforms in Go (guest ABI v1,
// docs/abi.md), with the stock toolchain or with TinyGo.
//
// A module names its reasons, and exports one transform, which decides about one
// record at a time:
//
//	package main
//
//	import "github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
//
//	var empty = guardlock.NewReason("demo.empty")
//
//	func init() { guardlock.Export(guardlock.Func(refuseEmpty)) }
//
//	func main() {}
//
//	func refuseEmpty(r *guardlock.Record) guardlock.Verdict {
//		if r.Value() != nil && len(r.Value()) == 0 {
//			return guardlock.Reject(empty)
//		}
//		return guardlock.Pass
//	}
//
// A transform is plain Go: `go test` runs it on the machine that it is written on, with
// records of NewRecord. It has no goroutines to share with, since the host calls an
// instance for one batch at a time.
//
// Trust: what the host writes in a frame is believed; every byte of a key, value or
// header comes from a producer and is not. A panic is a trap: the batch fails.
package guardlock

import "errors"

// Transform decides about records. There are several instances of a module, each in a
// memory of its own, and one may be thrown away at any time: what a transform remembers
// it may forget.
type Transform interface {
	// Apply decides about one record, and may change it. The record and its bytes are
	// the transform's until it returns.
	Apply(r *Record) Verdict
}

// Configurer is a transform that takes a configuration. One that is no Configurer
// refuses any.
type Configurer interface {
	// Configure takes the exact bytes of the approved configuration, before any record.
	// It must copy what it keeps.
	Configure(config []byte) error
}

// Func is a transform that needs no configuration.
type Func func(r *Record) Verdict

// Apply calls the function.
func (f Func) Apply(r *Record) Verdict { return f(r) }

var exported Transform

// Export makes a transform the one of this module. It is for an init function, since
// the main function of a module is never called.
func Export(t Transform) {
	if exported != nil {
		panic("guardlock: Export was called twice, but a module is one transform")
	}
	exported = t
}

var errNoConfiguration = errors.New("this module takes no configuration")

// Configure gives a configuration to a transform as the host does.
func Configure(t Transform, config []byte) error {
	if c, ok := t.(Configurer); ok {
		return c.Configure(config)
	}
	if len(config) > 0 {
		return errNoConfiguration
	}

	return nil
}

type outcome uint8

// The outcomes have the numbers of the ABI. A change is one of passing records.
const (
	passed outcome = iota
	rejected
	dropped
	routed
	failed
)

// Verdict is what is to become of a record. Two of them may be compared.
type Verdict struct {
	outcome outcome
	route   uint8
	reason  Reason
}

// Pass stores the record: as it came, or as it was changed.
var Pass = Verdict{}

// Fail says that the transform cannot go on. The batch fails.
var Fail = Verdict{outcome: failed}

// Modify stores the record as it was changed, for a reason.
func Modify(why Reason) Verdict { return Verdict{reason: why} }

// Drop acknowledges the record and does not store it.
func Drop(why Reason) Verdict { return Verdict{outcome: dropped, reason: why} }

// Reject refuses the record's whole batch, and tells the producer which record and why.
func Reject(why Reason) Verdict { return Verdict{outcome: rejected, reason: why} }

// Route stores the record in a granted topic instead: the index in the grant's routes.
func Route(index uint8, why Reason) Verdict {
	return Verdict{outcome: routed, route: index, reason: why}
}

// String says what the verdict is, for tests.
func (v Verdict) String() string {
	words := [...]string{passed: "pass", rejected: "reject", dropped: "drop", routed: "route", failed: "fail"}
	text := words[v.outcome]
	if v.outcome == passed && v.reason != Unspecified {
		text = "modify"
	}
	if v.reason != Unspecified {
		text += " " + v.reason.String()
	}

	return text
}
