package transforms

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Kind classes the failures of a running module, by who can do something about
// them.
type Kind uint8

// The kinds of failure. All of them mean that nothing of the batch may be used.
const (
	Trap          Kind = iota + 1 // the guest trapped or ran out of stack
	Timeout                       // the guest, or the wait for an instance, took too long
	OutputInvalid                 // what the guest returned breaks the ABI
	GuestFailed                   // the guest reported a failure of its own
	Memory                        // the guest could not get the memory the batch needs
	Closed                        // the module was closed
	TooLarge                      // a record is larger than fits into the guest's memory
	TooMany                       // the chain has more modules than a record can name
	Ended                         // the guest's worker ended, by itself or by somebody else
)

var kindNames = [...]string{"", "trap", "timeout", "output_invalid", "guest_failed", "memory", "closed", "record_too_large", "too_many_modules", "worker_ended"}

// String returns the kind's name as the decision log and metrics print it. It
// is part of the log's format.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Error is the failure of one module on one batch. Its text holds no bytes of
// any record: it may be logged.
type Error struct {
	Kind   Kind
	Module string
	Err    error
}

// Error names the module, the kind and the cause. It never holds bytes of a
// record.
func (e *Error) Error() string {
	return fmt.Sprintf("running module %q: %s: %v", e.Module, e.Kind, e.Err)
}

// Unwrap gives the cause alone, without the module and the kind.
func (e *Error) Unwrap() error { return e.Err }

var (
	errRuntimeClosed = errors.New("the runtime is closed")
	errModuleClosed  = errors.New("the module is closed")
	errDeadline      = errors.New("the deadline of the call passed")
	errBatchDeadline = errors.New("the deadline of the batch passed")
	errBusy          = errors.New("no instance became free before the deadline of the batch")
	errStackBudget   = errors.New("the call stack exceeds its limit")
	errAbort         = errors.New("the guest called env.abort")
)

// OfGuest reports whether it was the guest that failed, and not what is around it:
// a batch that waited too long or was given up says nothing about its module.
func (e *Error) OfGuest() bool {
	switch e.Kind {
	case Trap, OutputInvalid, GuestFailed, Memory:
		return true
	case Timeout:
		return !errors.Is(e.Err, errBusy) && !errors.Is(e.Err, context.Canceled) && !errors.Is(e.Err, context.DeadlineExceeded)
	}
	return false
}

// trapText is the first line of an engine error. What follows is a stack trace
// with names that the module's author chose.
func trapText(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	text = strings.TrimSuffix(strings.TrimPrefix(text, "wasm error: "), " (recovered by wazero)")
	return errors.New(text)
}
