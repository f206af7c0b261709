package ops

import (
	"fmt"
	"net"
)

// Notify tells systemd of a change of state, as sd_notify(3) does: "READY=1",
// "RELOADING=1", "STOPPING=1". socket is what NOTIFY_SOCKET holds; where it is empty
// nobody wants to know.
func Notify(socket, state string) error {
	if socket == "" {
		return nil
	}

	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"}) // @ begins an abstract name in Go as there
	if err != nil {
		return fmt.Errorf("telling systemd %s: %w", state, err)
	}
	defer conn.Close()

	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("telling systemd %s: %w", state, err)
	}
	return nil
}
