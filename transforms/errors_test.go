package transforms

import (
	"context"
	"fmt"
	"testing"
)

// A module is suspended for what it does, not for a machine that is busy or a
// gateway that ends.
func TestOnlyTheGuestsOwnFailuresAreItsOwn(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		err  error
		want bool
	}{
		{Trap, errStackBudget, true},
		{Timeout, errDeadline, true},
		{Timeout, errBatchDeadline, true},
		{Timeout, errBusy, false},
		{Timeout, context.Canceled, false},
		{Timeout, fmt.Errorf("waiting: %w", context.DeadlineExceeded), false},
		{OutputInvalid, errAbort, true},
		{GuestFailed, errAbort, true},
		{Memory, errAbort, true},
		{Closed, errModuleClosed, false},
		{TooLarge, errAbort, false},
		{TooMany, errChainTooLong, false},
	} {
		if got := (&Error{c.kind, "m", c.err}).OfGuest(); got != c.want {
			t.Errorf("%s (%v): %v", c.kind, c.err, got)
		}
	}
}
