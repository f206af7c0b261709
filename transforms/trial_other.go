//go:build !linux

package transforms

import (
	"os"
	"runtime/debug"
	"syscall"
)

func selfExecutable() (string, error) { return os.Executable() }

func trialAttributes() *syscall.SysProcAttr { return nil }

// apply asks the collector to keep to the limit. The kernel's limits are
// set on Linux only, which is what gateways are run on.
func (b trialBounds) apply() error {
	debug.SetMemoryLimit(int64(b.Memory) * 3 / 4)
	return nil
}
