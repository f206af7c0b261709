package kafkatest

import (
	"os/exec"

	"github.com/guardlock/guardlock/internal/child"
)

// StartProcess starts cmd so that it dies with this process, however that ends. What it ended with comes on ended, once.
func StartProcess(cmd *exec.Cmd) (ended <-chan error, err error) {
	cmd.SysProcAttr = processAttributes()
	p, err := child.Start(cmd)
	if err != nil {
		return nil, err
	}

	end := make(chan error, 1)
	go func() { end <- p.Wait() }()
	return end, nil
}
