package exit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestWhatCouldNotBeAskedIsNotRefused: a script takes Refused for an answer.
func TestWhatCouldNotBeAskedIsNotRefused(t *testing.T) {
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	_, unreadable := os.ReadFile(loop)
	_, missing := os.ReadFile(loop + ".missing")
	damaged := errors.New("damaged")

	for _, c := range []struct {
		err  error
		want int
	}{
		{damaged, Refused},
		{fmt.Errorf("%w: %w", damaged, missing), Refused},
		{fmt.Errorf("%w: %w", damaged, fs.ErrNotExist), Refused},
		{unreadable, Failure},
		{fmt.Errorf("%w: %w", damaged, unreadable), Failure},
		{&fs.PathError{Op: "read", Path: "a", Err: syscall.EIO}, Failure},
		{&net.DNSError{IsTimeout: true}, Failure},
		{fmt.Errorf("reading: %w", context.DeadlineExceeded), Failure},
		{context.Canceled, Failure},
	} {
		if got := CodeOf(Judged(c.err)); got != c.want {
			t.Errorf("%v has code %d, want %d", c.err, got, c.want)
		}
	}

	if err := Judged(WithHint(damaged, "look")); HintOf(err) != "look" || !errors.Is(err, damaged) {
		t.Errorf("%v, hint %q", err, HintOf(err))
	}
}
