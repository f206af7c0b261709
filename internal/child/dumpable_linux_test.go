package child

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// dumpable says what would become of a core of this process.
func dumpable() {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		panic(err)
	}
	flag, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		panic(err)
	}
	fmt.Printf("core limit %d, dumpable %d\n", limit.Max, flag)
}
