package kafkatest

import "syscall"

// processAttributes makes a node die with the test's process, however that ends, and keeps a terminal's Ctrl-C from it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
