package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// killBroker kills the embedded broker of a gateway, its only child.
func (p *process) killBroker() {
	p.t.Helper()
	before := p.child()
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		p.t.Fatalf("killing the embedded broker: %v", err)
	}
	eventually(p.t, "the broker is started again", func() bool { now := p.child(); return now != 0 && now != before })
}

// child is the process id of the gateway's child, 0 if it has none.
func (p *process) child() int {
	p.t.Helper()
	if all := p.children(); len(all) > 0 {
		return all[0]
	}
	return 0
}

// children are the process ids of the gateway's children.
func (p *process) children() (all []int) {
	p.t.Helper()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/task/*/children")
	if err != nil {
		p.t.Fatal(err)
	}

	for _, task := range tasks {
		text, _ := os.ReadFile(task) // a thread may have ended
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				all = append(all, pid)
			}
		}
	}

	return all
}
