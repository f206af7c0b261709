package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// RequestHeader is the header of a request (versions 1 and 2). It holds views
// into its frame and is valid as long as that is.
type RequestHeader struct {
	Key           kmsg.Key
	Version       int16
	CorrelationID int32
	ClientID      []byte // nil is null
	BodyOffset    int

	raw []byte // the header as the client sent it, kept for AppendProduce
}

// ParseRequestHeader reads the header of a frame (without its length) and
// decides whether a client may send such a request at all.
//
// On ErrRefused and ErrUnsupportedVersion the key, version and correlation id
// are set and nothing behind them was read: what lies there in an unknown
// version is unknown (KIP-511). ControlledShutdown v0, whose header has no
// client id, is refused with its key.
func ParseRequestHeader(frame []byte) (RequestHeader, error) {
	r := reader{src: frame}
	h := RequestHeader{Key: kmsg.Key(r.i16()), Version: r.i16(), CorrelationID: r.i32()}
	if r.bad {
		return h, malformed("request header")
	}

	api, ok := Lookup(h.Key)
	if !ok || api.Handling == Refuse {
		return h, fmt.Errorf("checking %s: %w", KeyName(h.Key), ErrRefused)
	}
	if !api.Serves(h.Version) {
		return h, fmt.Errorf("checking %s v%d: %w", api.Name, h.Version, ErrUnsupportedVersion)
	}

	h.ClientID = r.str() // int16 length in both header versions
	r.flex = api.IsFlexible(h.Version)
	r.tags()

	if r.bad {
		return h, malformed("request header")
	}
	h.BodyOffset = r.off
	h.raw = frame[:r.off]
	return h, nil
}

// AppendRequestHeader writes the header of a request of our own, in the header
// version that the API's version has.
func AppendRequestHeader(dst []byte, key kmsg.Key, version int16, correlation int32, clientID []byte) []byte {
	dst = appendI16(dst, key.Int16())
	dst = appendI16(dst, version)
	dst = appendI32(dst, correlation)
	dst = appendStr(dst, clientID, false)
	return appendNoTags(dst, flexible(key, version))
}

// ParseResponseHeader reads the header of a response frame to a request of the
// given key and version, which must be in the table.
func ParseResponseHeader(key kmsg.Key, version int16, frame []byte) (correlation int32, bodyOffset int, err error) {
	r := reader{src: frame}
	correlation = r.i32()
	r.flex = flexibleResponseHeader(key, version)
	r.tags()

	if r.bad {
		return 0, 0, malformed("response header")
	}
	return correlation, r.off, nil
}

// AppendResponseHeader writes the header of a response of our own, in the
// header version that the API's version has.
func AppendResponseHeader(dst []byte, key kmsg.Key, version int16, correlation int32) []byte {
	dst = appendI32(dst, correlation)
	return appendNoTags(dst, flexibleResponseHeader(key, version))
}

// flexibleResponseHeader reports whether a response has the newer header. An
// ApiVersions answer always has the old one, for the client may not know yet
// which version it is (KIP-511).
func flexibleResponseHeader(key kmsg.Key, version int16) bool {
	return key != kmsg.ApiVersions && flexible(key, version)
}

func flexible(key kmsg.Key, version int16) bool {
	api, ok := Lookup(key)
	return ok && api.IsFlexible(version)
}
