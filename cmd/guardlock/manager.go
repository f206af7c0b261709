package main

import (
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/internal/ops"
	"github.com/guardlock/guardlock/internal/server"
)

// manager tells systemd, which may have started the gateway, what it does. It is safe
// for concurrent use.
type manager struct {
	socket string // what NOTIFY_SOCKET holds; empty: nobody wants to know
	log    *server.Logger

	mu      sync.Mutex
	started bool // a reload before that is part of the start
	ends    bool
}

// ready tells once that clients are served.
func (m *manager) ready() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.started {
		m.started = true
		m.tell("READY=1")
	}
}

// reloading tells that the configuration is read again, and since when by the
// system's own clock, so that systemd can tell this reload from an earlier one.
func (m *manager) reloading() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started && !m.ends {
		m.tell(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", ops.Monotonic().Microseconds()))
	}
}

func (m *manager) reloaded() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started && !m.ends {
		m.tell("READY=1")
	}
}

func (m *manager) stopping() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends = true
	m.tell("STOPPING=1")
}

func (m *manager) tell(state string) {
	if err := ops.Notify(m.socket, state); err != nil {
		m.log.Warn("systemd was not told", zap.Error(err))
	}
}
