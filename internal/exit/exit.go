// Package exit gives errors the exit code that scripts branch on, and the one
// sentence that tells a person what to do. Any room above the leaves may use it;
// only the command prints and exits.
//
// Trust: none is needed; an error's text may come from outside and is escaped
// where it is printed.
package exit

import (
	"errors"
	"fmt"
)

// Exit codes. They are documented in the root command's help: scripts branch
// on them, so a meaning never changes.
const (
	OK          = 0
	Failure     = 1   // something did not work: file, network, broker
	Usage       = 2   // the command line is wrong
	Refused     = 3   // a rule said no: signature, approval, policy, module, log check
	NotFound    = 4   // what was asked for does not exist
	Interrupted = 130 // Ctrl-C before the work was done
)

// failure is an error that knows its exit code and what the user can do.
type failure struct {
	err  error
	code int
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// WithCode gives err an exit code, keeping a hint that it may have.
func WithCode(err error, code int) error {
	return &failure{err: err, code: code, hint: HintOf(err)}
}

// WithHint gives err one sentence on what to do, keeping its exit code.
func WithHint(err error, format string, args ...any) error {
	return &failure{err: err, code: CodeOf(err), hint: fmt.Sprintf(format, args...)}
}

// Usagef is an error in the command line (exit 2).
func Usagef(format string, args ...any) error {
	return WithCode(fmt.Errorf(format, args...), Usage)
}

// Refusedf is a "no" by a rule (exit 3).
func Refusedf(format string, args ...any) error {
	return WithCode(fmt.Errorf(format, args...), Refused)
}

// NotFoundf says that what was asked for does not exist (exit 4).
func NotFoundf(format string, args ...any) error {
	return WithCode(fmt.Errorf(format, args...), NotFound)
}

func CodeOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return Failure
}

func HintOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.hint
	}
	return ""
}
