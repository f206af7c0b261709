package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/guardlock/guardlock/internal/exit"
)

// ParseDay reads a time (RFC 3339), or a day of UTC as its first second or,
// with end, as its last.
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

// clocks are the layouts of times of day, and of days with one, as people write
// them.
var clocks = []string{"15:04", "15:04:05", "2006-01-02 15:04", "2006-01-02 15:04:05"}

// ParseTime is ParseDay, and takes a time of the day that now is in, too: 10:00 is
// that of today. All are UTC, as everything that is printed.
func ParseTime(s string, now time.Time, end bool) (time.Time, error) {
	for _, layout := range clocks {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}

		if t.Year() == 0 {
			day := now.UTC().Truncate(24 * time.Hour)
			t = day.Add(time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second)
		}
		return t, nil
	}

	return ParseDay(s, end)
}

// ParsePeriod is time.ParseDuration with days, as 90d. A period is longer than
// nothing.
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
