package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/internal/disk"
)

// Confirm asks a question, and reports whether the answer was yes. Anything else, the
// end of the input too, is a no.
func Confirm(cmd *cobra.Command, question string) (bool, error) {
	fmt.Fprintf(cmd.ErrOrStderr(), "\n%s [y/N] ", question)
	answer, err := readAnswer(disk.Interruptible(cmd.Context(), cmd.InOrStdin()))
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading the answer: %w", err)
	}

	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// readAnswer reads one line byte by byte, so that what follows is left for a
// password prompt.
func readAnswer(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 64; {
		n, err := r.Read(b)
		if n == 1 && b[0] == '\n' {
			return string(line), nil
		}

		line = append(line, b[:n]...)
		if err != nil {
			return string(line), err
		}
	}

	return string(line), nil
}
