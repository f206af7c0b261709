package host_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock/host"
)

func TestFakesAnswerAsTheSandboxWithTestKeys(t *testing.T) {
	sum, err := host.SHA256([]byte("abc"))
	if got := hex.EncodeToString(sum[:]); err != nil || got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := host.HMACSHA256(4, nil); !errors.Is(err, host.ErrUnknownKey) {
		t.Errorf("of key 4: %v", err)
	}

	sealed, err := host.Seal([]byte("before"), 1, []byte("a@b.c"), "email")
	if err != nil || len(sealed) != len("before")+len("a@b.c")+host.EnvelopeOverhead || !bytes.HasPrefix(sealed, []byte("before")) {
		t.Fatalf("sealed to %q, %v", sealed, err)
	}
	envelope := sealed[len("before"):]
	if opened, err := host.Open(nil, 1, envelope, "email"); err != nil || string(opened) != "a@b.c" {
		t.Errorf("opened to %q, %v", opened, err)
	}
	for _, purpose := range []string{"", "emai", "name"} {
		if _, err := host.Open(nil, 1, envelope, purpose); !errors.Is(err, host.ErrNotOpened) {
			t.Errorf("for purpose %q: %v", purpose, err)
		}
	}
}

func TestFakesCanBeReplaced(t *testing.T) {
	t.Cleanup(func() { host.Fakes = host.NewFakes() })
	if _, err := host.Zstd(nil, []byte("x"), 10); !errors.Is(err, host.ErrFailed) {
		t.Errorf("without a fake: %v", err)
	}

	host.Fakes.Zstd = func(data []byte) ([]byte, error) { return append(data, data...), nil }
	if got, err := host.Zstd([]byte(">"), []byte("xy"), 10); err != nil || string(got) != ">xyxy" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := host.Zstd(nil, []byte("xy"), 3); !errors.Is(err, host.ErrTooSmall) {
		t.Errorf("with room for less: %v", err)
	}

	var logged []guardlock.Reason
	host.Fakes.Log = func(_ host.Level, why guardlock.Reason) { logged = append(logged, why) }
	host.Log(host.Info, 7)
	if len(logged) != 1 || logged[0] != 7 {
		t.Errorf("logged %v", logged)
	}
}

// A buffer of the caller's serves every record.
func TestABufferIsUsedAgain(t *testing.T) {
	host.Fakes.Zstd = func([]byte) ([]byte, error) { return nil, host.ErrFailed }
	t.Cleanup(func() { host.Fakes = host.NewFakes() })
	buffer := make([]byte, 0, 100)
	data := []byte("data")
	if n := testing.AllocsPerRun(10, func() { _, _ = host.Zstd(buffer, data, 100) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
