package evidence_test

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// mostLines is how long the second verifier may be, and mostWidth how long a line of it,
// since fewer lines that are longer would be no less to read. Whoever trusts neither us
// nor its author reads it whole.
const (
	mostLines = 200
	mostWidth = 130
)

// TestSecondVerifierCanBeRead counts the lines of tools/verify.py that are neither
// empty nor there to explain the others.
func TestSecondVerifierCanBeRead(t *testing.T) {
	raw, err := os.ReadFile("../../tools/verify.py")
	if err != nil {
		t.Fatal(err)
	}

	lines := 0
	explains := false
	for line := range strings.Lines(string(raw)) {
		if width := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > mostWidth {
			t.Errorf("%d characters, and at most %d: %s", width, mostWidth, line)
		}

		line = strings.TrimSpace(line)
		quotes := strings.Count(line, `"""`)
		if line != "" && !explains && quotes == 0 && !strings.HasPrefix(line, "#") {
			lines++
		}
		if quotes == 1 {
			explains = !explains
		}
	}
	if lines > mostLines {
		t.Errorf("%d lines, and at most %d", lines, mostLines)
	}
	t.Logf("%d lines", lines)
}
