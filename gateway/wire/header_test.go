package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestRequestHeadersAgreeWithKmsg(t *testing.T) {
	servedRequests(3, func(api API, v int16, req kmsg.Request) {
		frame := requestFrame(77, req)
		h, err := ParseRequestHeader(frame)
		if err != nil {
			t.Fatalf("%s v%d: %v", api.Name, v, err)
		}
		if h.Key != api.Key || h.Version != v || h.CorrelationID != 77 || string(h.ClientID) != "client" {
			t.Errorf("%s v%d: %+v", api.Name, v, h)
		}
		if !bytes.Equal(frame[h.BodyOffset:], req.AppendTo(nil)) {
			t.Errorf("%s v%d: body starts at %d", api.Name, v, h.BodyOffset)
		}

		own := AppendRequestHeader(nil, api.Key, v, 77, []byte("client"))
		if !bytes.Equal(own, frame[:h.BodyOffset]) {
			t.Errorf("%s v%d: own header %x, kmsg's %x", api.Name, v, own, frame[:h.BodyOffset])
		}
	})
}

// The body starts behind the tagged fields of the header, however many.
func TestTaggedFieldsInHeadersAreSteppedOver(t *testing.T) {
	frame := []byte{0, 0, 0, 9, 0, 0, 0, 1, 0, 1, 'c', 2, 5, 3, 1, 2, 3, 9, 0, 0xaa}
	h, err := ParseRequestHeader(frame)
	if err != nil || h.BodyOffset != len(frame)-1 {
		t.Fatalf("%+v, %v", h, err)
	}

	null := []byte{0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0}
	if h, err = ParseRequestHeader(null); err != nil || h.ClientID != nil || h.BodyOffset != len(null) {
		t.Fatalf("null client id: %+v, %v", h, err)
	}
}

// The answer to an ApiVersions from the future is v0 with error 35,
// made without looking behind the correlation id.
func TestUnknownApiVersionsIsAnsweredInV0(t *testing.T) {
	frame := []byte{0, 18, 0x7f, 0xff, 0, 0, 0, 5}
	h, err := ParseRequestHeader(frame)
	if !errors.Is(err, ErrUnsupportedVersion) || h.CorrelationID != 5 || h.Key != 18 {
		t.Fatalf("%+v, %v", h, err)
	}

	out := UnsupportedApiVersions(nil, h.CorrelationID)
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := resp.ReadFrom(out[4:]); err != nil {
		t.Fatal(err)
	}
	if resp.ErrorCode != 35 || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MaxVersion != 5 {
		t.Fatalf("%+v", resp)
	}
	if !bytes.Equal(out, append([]byte{0, 0, 0, 5}, resp.AppendTo(nil)...)) {
		t.Fatal("not a plain v0 body")
	}
}

// The ApiVersions response header never has tagged fields.
func TestApiVersionsResponseHeaderIsAlwaysOld(t *testing.T) {
	for v := int16(0); v <= 5; v++ {
		if h := AppendResponseHeader(nil, kmsg.ApiVersions, v, 1); len(h) != 4 {
			t.Errorf("v%d: %x", v, h)
		}
	}
	if h := AppendResponseHeader(nil, kmsg.Metadata, 9, 1); len(h) != 5 {
		t.Errorf("Metadata v9: %x", h)
	}
}

func FuzzRequestHeader(f *testing.F) {
	servedRequests(3, func(api API, v int16, req kmsg.Request) {
		if v == api.Max {
			f.Add(requestFrame(1, req))
		}
	})
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, err := ParseRequestHeader(frame)
		if err != nil {
			return
		}
		if h.BodyOffset > len(frame) || len(h.ClientID) > len(frame) {
			t.Fatalf("%+v of %d bytes", h, len(frame))
		}

		_ = SpeakAsConsumer(h.Key, h.Version, frame[h.BodyOffset:])
		if h.Key == kmsg.ApiVersions {
			_, _ = RewriteApiVersionsRequest(nil, h, frame)
		}
	})
}
