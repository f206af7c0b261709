package config

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// room is how much of a disk: a share of it, or bytes.
type room struct {
	percent float64
	bytes   int64
}

var errRoom = errors.New("must be a size like 20GiB, or a share of the disk like 5%, of less than 100%")

// parseRoom reads what a disk is to have. Nothing is the zero room.
func parseRoom(s string) (r room, err error) {
	if s == "" {
		return r, nil
	}
	if share, ok := strings.CutSuffix(s, "%"); ok {
		r.percent, err = strconv.ParseFloat(share, 64)
		if err != nil || !(r.percent >= 0 && r.percent < 100) {
			return room{}, errRoom
		}
		return r, nil
	}

	n, err := humanize.ParseBytes(s)
	if err != nil || n > math.MaxInt64 {
		return r, errRoom
	}

	r.bytes = int64(n)
	return r, nil
}

// defaultRoom is that of a large disk.
const defaultRoom = 1 << 30

// LowDisk is below how many free bytes there is an alarm, on a disk of a size.
func (a *Audit) LowDisk(size int64) int64 {
	r, err := parseRoom(a.DiskAlarm)
	switch {
	case err != nil || a.DiskAlarm == "":
		return min(defaultRoom, size/10)
	case r.percent > 0:
		return int64(float64(size) * r.percent / 100)
	}

	return r.bytes
}
