package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/guardlock/guardlock/internal/exit"
)

// ParseDay reads a time, or a day of UTC: its first second or its last.
func ParseDay(s string, end bool) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC().Truncate(time.Second), nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return t, exit.Usagef("%q is neither a day like 2030-12-31 nor a time like 2030-12-31T12:00:00Z", s)
	}
	if end {
		t = t.AddDate(0, 0, 1).Add(-time.Second)
	}

	return t, nil
}

// ParsePeriod is time.ParseDuration with days.
func ParsePeriod(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 15); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}

	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, exit.Usagef("%q is not a period like 90d or 12h", s)
	}
	return d, nil
}
