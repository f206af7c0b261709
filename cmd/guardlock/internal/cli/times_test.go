package cli

import (
	"testing"
	"time"
)

func TestTimesAreReadAsPeopleWriteThem(t *testing.T) {
	now := time.Date(2030, 5, 1, 17, 45, 0, 0, time.FixedZone("west", -8*3600)) // it is the 2nd in UTC
	for s, want := range map[string]string{
		"10:00":                "2030-05-02T10:00:00Z",
		"10:00:30":             "2030-05-02T10:00:30Z",
		"2026-11-28 01:00":     "2026-11-28T01:00:00Z",
		"2026-11-28 01:00:07":  "2026-11-28T01:00:07Z",
		"2026-11-28":           "2026-11-28T00:00:00Z",
		"2026-11-28T01:00:00Z": "2026-11-28T01:00:00Z",
	} {
		got, err := ParseTime(s, now, false)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s is %s, %v; want %s", s, got.Format(time.RFC3339), err, want)
		}
	}

	for _, s := range []string{"", "10", "25:00", "10:61", "noon", "2026-13-01 10:00"} {
		if got, err := ParseTime(s, now, false); err == nil {
			t.Errorf("%q is taken as %s", s, got)
		}
	}
}
