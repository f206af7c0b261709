package wire

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestEveryRequestMatchesItsShape(t *testing.T) {
	for seed := uint64(0); seed < 40; seed++ {
		servedRequests(seed, func(api API, v int16, req kmsg.Request) {
			body := req.AppendTo(nil)
			if err := CheckRequest(api.Key, v, body); err != nil {
				t.Fatalf("%s v%d: %v\n%x", api.Name, v, err, body)
			}
			if err := CheckRequest(api.Key, v, append(body, 0)); err != nil {
				t.Errorf("%s v%d: a broker would not mind a byte too many: %v", api.Name, v, err)
			}
			if !consumed(api, v, body) {
				t.Errorf("%s v%d: the shape ends before the request", api.Name, v)
			}
			if len(body) > 0 && CheckRequest(api.Key, v, body[:len(body)-1]) == nil {
				t.Errorf("%s v%d: a byte too few was let through", api.Name, v)
			}
		})
	}
}

// consumed reports whether the shape covers the body to its last byte.
func consumed(api API, v int16, body []byte) bool {
	c := checker{reader: reader{src: body, flex: api.IsFlexible(v)}, version: v, shape: api.Request}
	c.structure(0)
	return !c.bad && c.off == len(body)
}

// Eleven bytes that claim 4 billion tagged fields cost kmsg over a minute.
func TestCountsBeyondTheBytesAreRefusedAtOnce(t *testing.T) {
	bomb := []byte{1, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}
	start := time.Now()
	if err := CheckRequest(12, 4, bomb); !errors.Is(err, ErrMalformed) {
		t.Fatalf("Heartbeat v4: %v", err)
	}

	h := RequestHeader{Key: 12, Version: 4}
	if _, err := ErrorResponse(nil, h, bomb, 1, ""); !errors.Is(err, ErrMalformed) {
		t.Fatalf("answering it: %v", err)
	}
	if d := time.Since(start); d > time.Second {
		t.Fatalf("took %v", d)
	}
}

func TestShapeVersionsAreParsed(t *testing.T) {
	for _, c := range []struct {
		in     string
		lo, hi int16
	}{{"", 0, maxVersion}, {"3+", 3, maxVersion}, {"-2", 0, 2}, {"8-9", 8, 9}, {"4", 4, 4}, {"0", 0, 0}, {" s", 0, maxVersion}} {
		if lo, hi, _ := versions(c.in, 0); lo != c.lo || hi != c.hi {
			t.Errorf("%q: %d-%d", c.in, lo, hi)
		}
	}
}

// FuzzCheckRequest: what passes must be decodable by kmsg, and cheaply.
func FuzzCheckRequest(f *testing.F) {
	servedRequests(1, func(api API, v int16, req kmsg.Request) {
		if v == api.Min || v == api.Max {
			f.Add(api.Key.Int16(), v, req.AppendTo(nil))
		}
	})
	f.Fuzz(func(t *testing.T, number, version int16, body []byte) {
		key := kmsg.Key(number)
		if len(body) > 1<<16 || CheckRequest(key, version, body) != nil {
			return
		}

		req := key.Request()
		req.SetVersion(version)
		// kmsg refuses nulls where Kafka has none; it must refuse nothing else,
		// and neither panic nor linger.
		_ = req.ReadFrom(body)
		h := RequestHeader{Key: key, Version: version}
		_, _ = ErrorResponse(nil, h, body, 41, "no")
	})
}
