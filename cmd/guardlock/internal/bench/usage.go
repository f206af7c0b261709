package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// used is what this process has used, and those that it started.
func used() usage {
	var u usage
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var r syscall.Rusage
		if syscall.Getrusage(who, &r) != nil {
			continue
		}
		u.CPU += time.Duration(r.Utime.Nano() + r.Stime.Nano())
		if who == syscall.RUSAGE_SELF {
			u.Memory = uint64(r.Maxrss) * maxrssUnit()
		}
	}

	cpu, memory := ofChildren()
	u.CPU += cpu
	u.Memory += memory
	return u
}

// maxrssUnit is what the system counts memory by.
func maxrssUnit() uint64 {
	if runtime.GOOS == "darwin" {
		return 1
	}
	return 1 << 10
}

// tick is the unit of times in /proc, 1/100 s on every Linux there is.
const tick = 10 * time.Millisecond

// ofChildren is what processes of guests have used that still run, where the system
// has a /proc.
func ofChildren() (cpu time.Duration, memory uint64) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		pids, _ := os.ReadFile(list)
		for _, pid := range strings.Fields(string(pids)) {
			stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
			if err != nil {
				continue // it has ended
			}
			c, m := readStat(stat)
			cpu += c
			memory += m
		}
	}
	return cpu, memory
}

// readStat reads a line of /proc/PID/stat. The name in it may hold anything, so that
// the fields are counted from behind it.
func readStat(line []byte) (cpu time.Duration, memory uint64) {
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) < 22 {
		return 0, 0
	}
	var user, system, pages int64
	fmt.Sscan(string(fields[11]), &user)
	fmt.Sscan(string(fields[12]), &system)
	fmt.Sscan(string(fields[21]), &pages)
	return time.Duration(user+system) * tick, uint64(pages) * uint64(os.Getpagesize())
}

// sameDisk reports whether two directories lie on one.
func sameDisk(a, b string) bool {
	device := func(path string) any {
		info, err := os.Stat(path)
		if err != nil {
			return path // like no other
		}
		return info.Sys().(*syscall.Stat_t).Dev
	}
	return device(a) == device(b)
}
