package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/config"
)

// TestDiskOfTheLogIsToldBeforeItIsFull goes through the edges of how much is free.
func TestDiskOfTheLogIsToldBeforeItIsFull(t *testing.T) {
	s, _, log := opened(t)

	const gib = 1 << 30
	var low alarm
	look := func(free int64, err error) (alarmed, full bool) {
		s.lookAtSpace(&low, func(string) (int64, int64, error) { return free, 100 * gib, err })
		return s.space.alarmed(), s.journal.Count().Full
	}
	for _, c := range []struct {
		free          int64
		err           error
		alarmed, full bool
		ready         string // why it is not
	}{
		{free: 50 * gib},
		{free: gib},
		{free: gib - 1, alarmed: true},
		{free: 17 << 20, alarmed: true},
		{free: 16 << 20, alarmed: true, full: true, ready: "is full"},
		{free: 0, alarmed: true, full: true, ready: "is full"},
		{err: errors.New("no such disk")}, // it is not known, and the log goes on
		{free: 0, alarmed: true, full: true, ready: "is full"},
		{free: 2 * gib},
	} {
		alarmed, full := look(c.free, c.err)
		if alarmed != c.alarmed || full != c.full {
			t.Errorf("%d bytes free (%v): alarm %v, full %v", c.free, c.err, alarmed, full)
		}

		missing := strings.Join((&view{s}).Missing(), "; ")
		if got := strings.Contains(missing, "disk of the decision log is full"); got != (c.ready != "") {
			t.Errorf("%d bytes free: missing %q", c.free, missing)
		}
	}

	text := log.String()
	for line, times := range map[string]int{"is almost full": 1, "log is full: what": 1, "has room again": 1} {
		if n := strings.Count(text, line); n < times {
			t.Errorf("%q was told %d times, want %d:\n%s", line, n, times, text)
		}
	}
}

func TestAlarmIsAShareOfTheDiskOrASize(t *testing.T) {
	for text, want := range map[string]int64{"": 1 << 30, "5%": 5 << 30, "20GiB": 20 << 30, "1000": 1000, "0": 0, "0%": 0} {
		a := config.Audit{DiskAlarm: text}
		if got := a.LowDisk(100 << 30); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}

	small := config.Audit{}
	if got := small.LowDisk(1 << 30); got != 1<<30/10 {
		t.Errorf("of a small disk: %d", got)
	}

	for _, text := range []string{"100%", "-1%", "NaN%", "%", "much", "-5GiB", "99999999999EiB"} {
		_, err := config.Parse([]byte("broker: {embedded: {}}\naudit: {disk_alarm: '"+text+"'}\n"), "gw.yaml")
		if err == nil || !strings.Contains(err.Error(), "audit.disk_alarm") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
