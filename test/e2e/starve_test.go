package e2e

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/guardlock/guardlock/gateway"
)

// besiege opens connections from other addresses, as many from each, that each
// announce 1 MiB, send some of it, and then say nothing. Those that the gateway
// ends come back. It returns once all of them have begun.
func besiege(t *testing.T, addr string, sources, connections, sent int) {
	t.Helper()
	frame := append([]byte{0, 0x10, 0, 0}, make([]byte, 1<<20)...)
	ctx := t.Context()
	begun := make(chan struct{}, sources*connections)
	for i := range sources * connections {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%sources))}}
		go func() {
			for ctx.Err() == nil {
				c, err := dialer.DialContext(ctx, "tcp", addr)
				if err != nil {
					return
				}

				c.Write(frame[:sent])
				select {
				case begun <- struct{}{}:
				default:
				}

				c.Read(make([]byte, 1)) // until it is ended
				c.Close()
			}
		}()
	}

	for range sources * connections {
		<-begun
	}
}

// Whoever announces much and sends little, or sends much and never ends, must
// not keep others from being served.
func TestFramesThatDoNotArriveLockNobodyOut(t *testing.T) {
	for name, sent := range map[string]int{"Announced": 16, "Begun": 64<<10 + 1, "NearlyWhole": 1<<20 - 100} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, judgeSetup(1, func(c *gateway.Config) {
				c.MaxFrame = 1 << 20
				c.Memory = 16 << 20 // half of it for requests: eight frames at most
				c.FrameTimeout = time.Minute
				c.DrainTimeout = time.Second
			}))

			besiege(t, w.addr(), 8, 6, sent)
			large := bytes.Repeat([]byte("x"), 600<<10)

			for range 2 {
				began := time.Now()
				w.alive()
				small := time.Since(began)

				c := dial(t, w.addr())
				if got := w.produce(c, "in", string(large)); got.ErrorCode != codeNone {
					t.Errorf("a large record is answered with code %d", got.ErrorCode)
				}

				t.Logf("a small record took %v, a large one %v", small, time.Since(began)-small)
				if small > 2*time.Second || time.Since(began) > 15*time.Second {
					t.Errorf("other clients were held up for %v", time.Since(began))
				}
			}
		})
	}
}
