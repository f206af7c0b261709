// Package exit gives errors the exit code that scripts branch on, and the one
// sentence that tells a person what to do. Any room above the leaves may use it;
// only the command prints and exits.
//
// Trust: none is needed; an error's text may come from outside and is escaped
// where it is printed.
package exit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
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

// failure is an error that knows its exit code, and in one sentence what the
// user can do. It wraps the error that happened, whose text it keeps.
type failure struct {
	err  error
	code int
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// WithCode gives err the code that the program ends with. A hint that err
// already has is kept.
func WithCode(err error, code int) error {
	return &failure{err: err, code: code, hint: HintOf(err)}
}

// WithHint gives err one sentence on what the user can do, which is printed
// below the error. The exit code that err has is kept.
func WithHint(err error, format string, args ...any) error {
	return &failure{err: err, code: CodeOf(err), hint: fmt.Sprintf(format, args...)}
}

// Usagef formats an error in the command line, such as a missing flag. The
// program ends with Usage.
func Usagef(format string, args ...any) error {
	return WithCode(fmt.Errorf(format, args...), Usage)
}

// Refusedf formats the "no" of a rule: a signature, a policy or a check did its
// work, and nothing failed. The program ends with Refused.
func Refusedf(format string, args ...any) error {
	return WithCode(fmt.Errorf(format, args...), Refused)
}

// Judged gives err, which came of judging something that had to be read for it, its code:
// Refused, but Failure where err says that it could not be read. Could not ask is not no.
func Judged(err error) error {
	if Unanswered(err) {
		return WithCode(err, Failure)
	}
	return WithCode(err, Refused)
}

// Unanswered reports whether err comes from the system, which could not do what it was
// asked: nothing was found out. That a file is not there is an answer.
func Unanswered(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}

	_, system := errors.AsType[syscall.Errno](err)
	_, network := errors.AsType[net.Error](err)
	return (system || network) && !errors.Is(err, fs.ErrNotExist)
}

// NotFoundf formats the error that what was asked for does not exist. The
// program ends with NotFound, so that a script can tell it from a failure.
func NotFoundf(format string, args ...any) error {
	return WithCode(fmt.Errorf(format, args...), NotFound)
}

// CodeOf returns the exit code that err was given last, and Failure if it was
// given none.
func CodeOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return Failure
}

// HintOf returns the hint that err was given last, and the empty string if it
// was given none.
func HintOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.hint
	}
	return ""
}
