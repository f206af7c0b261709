package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiOptions is what a listener adds to the table, and takes from it. The zero
// value is the table as it stands, without what is opt-in.
type ApiOptions struct {
	Telemetry bool // let clients push metrics upstream (KIP-714)
	// TerminateSASL says that the gateway authenticates clients itself, so that
	// it announces SaslHandshake and SaslAuthenticate whatever the cluster
	// announces.
	TerminateSASL bool
	// Caps lowers the newest version of an API, by key. -1 leaves none of it.
	Caps map[kmsg.Key]int16
}

// Serves reports whether this listener lets a request through, by table and
// options. Dispatch asks it for every request.
func (o ApiOptions) Serves(key kmsg.Key, version int16) bool {
	api, ok := Lookup(key)
	if !ok || !api.Serves(version) || api.OptIn && !o.Telemetry {
		return false
	}
	limit, capped := o.Caps[key]
	return !capped || version <= limit
}

// apiVersionsShape is the shape of the ApiVersions response body of every
// version, in the language of shape.go.
const apiVersionsShape = "h {h h h} i1+"

// RewriteApiVersions appends the ApiVersions response frame that a client is to
// see instead of the upstream's: only keys in our table, only versions
// that both sides know, features that our caps break taken down.
//
// version is that of the request. An upstream that does not know it answers in
// v0 with error 35; so does the result then.
func RewriteApiVersions(dst []byte, version int16, frame []byte, o ApiOptions) ([]byte, error) {
	correlation, body, err := ParseResponseHeader(kmsg.ApiVersions, version, frame)
	if err != nil {
		return dst, err
	}

	r := reader{src: frame, off: body}
	if r.i16() == kerr.UnsupportedVersion.Code {
		version = 0
	}
	if len(frame) > MaxDecoded || !fits(apiVersionsShape, version, flexible(kmsg.ApiVersions, version), frame[body:]) {
		return dst, malformed("ApiVersions response")
	}

	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = version
	if err := resp.ReadFrom(frame[body:]); err != nil {
		return dst, fmt.Errorf("reading ApiVersions response: %w", ErrMalformed)
	}

	resp.ApiKeys = o.intersect(resp.ApiKeys)
	o.capFeatures(resp)
	dst = AppendResponseHeader(dst, kmsg.ApiVersions, version, correlation)
	return resp.AppendTo(dst), nil
}

// intersect keeps of the upstream's keys those that clients may use, with the
// versions that both know.
func (o ApiOptions) intersect(upstream []kmsg.ApiVersionsResponseApiKey) []kmsg.ApiVersionsResponseApiKey {
	kept := upstream[:0]
	for _, k := range upstream {
		if o.TerminateSASL && isSASL(kmsg.Key(k.ApiKey)) {
			continue
		}
		if k, ok := o.narrow(k); ok {
			kept = append(kept, k)
		}
	}

	if o.TerminateSASL {
		kept = append(kept, announce(kmsg.SASLHandshake), announce(kmsg.SASLAuthenticate))
	}
	return kept
}

func isSASL(key kmsg.Key) bool { return key == kmsg.SASLHandshake || key == kmsg.SASLAuthenticate }

func announce(key kmsg.Key) kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey = key.Int16()
	k.MinVersion = table[key].Min
	k.MaxVersion = table[key].Max
	return k
}

// narrow cuts a range of versions to what the table and the options allow, and
// reports false where nothing is left.
func (o ApiOptions) narrow(k kmsg.ApiVersionsResponseApiKey) (kmsg.ApiVersionsResponseApiKey, bool) {
	key := kmsg.Key(k.ApiKey)
	api, ok := Lookup(key)
	if !ok || api.Handling == Refuse || api.OptIn && !o.Telemetry {
		return k, false
	}

	k.MinVersion = max(k.MinVersion, api.Min)
	k.MaxVersion = min(k.MaxVersion, api.Max)
	if limit, capped := o.Caps[key]; capped {
		k.MaxVersion = min(k.MaxVersion, limit)
	}
	if k.MinVersion > k.MaxVersion {
		return k, false
	}

	if key == kmsg.Produce {
		// KAFKA-18659: librdkafka takes a Produce minimum above 0 for a broker
		// that it cannot talk to. v0-2 are refused when they come.
		k.MinVersion = 0
	}

	return k, true
}

// produceTV2 is the first Produce version in which partitions join a
// transaction by themselves (KIP-890). Below it, clients ask with
// AddPartitionsToTxn.
const produceTV2 = 12

// capFeatures takes transaction.version down to 1 where clients cannot produce
// at v12: with 2 finalized they would skip AddPartitionsToTxn all the same.
func (o ApiOptions) capFeatures(resp *kmsg.ApiVersionsResponse) {
	for _, k := range resp.ApiKeys {
		if kmsg.Key(k.ApiKey) == kmsg.Produce && k.MaxVersion >= produceTV2 {
			return
		}
	}

	for i := range resp.SupportedFeatures {
		if f := &resp.SupportedFeatures[i]; f.Name == "transaction.version" {
			f.MaxVersion = min(f.MaxVersion, 1)
		}
	}

	for i := range resp.FinalizedFeatures {
		if f := &resp.FinalizedFeatures[i]; f.Name == "transaction.version" {
			f.MaxVersionLevel = min(f.MaxVersionLevel, 1)
			f.MinVersionLevel = min(f.MinVersionLevel, 1)
		}
	}
}

// RewriteApiVersionsRequest appends the ApiVersions request frame that goes
// upstream: from v5 with cluster id and node id taken out (KIP-1242).
// What the client believes to talk to is this gateway; a broker that finds
// itself mistaken answers REBOOTSTRAP_REQUIRED.
func RewriteApiVersionsRequest(dst []byte, h RequestHeader, frame []byte) ([]byte, error) {
	if h.Version < 5 {
		return append(dst, frame...), nil
	}
	r := reader{src: frame, off: h.BodyOffset, flex: true}
	r.str() // client_software_name
	r.str() // client_software_version
	start := r.off
	r.str()   // cluster_id
	r.skip(4) // node_id
	end := r.off
	r.tags()

	if r.bad {
		return dst, malformed("ApiVersions request")
	}
	dst = append(dst, frame[:start]...)
	dst = appendStr(dst, nil, true)
	dst = appendI32(dst, -1)

	return append(dst, frame[end:]...), nil
}

// UnsupportedApiVersions is the answer to an ApiVersions request in a version
// that we do not know, whose body nobody read (KIP-511): version 0, error 35,
// the versions of ApiVersions itself and nothing else.
func UnsupportedApiVersions(dst []byte, correlation int32) []byte {
	dst = appendI32(dst, correlation)
	dst = appendI16(dst, kerr.UnsupportedVersion.Code)
	dst = appendI32(dst, 1)
	dst = appendI16(dst, kmsg.ApiVersions.Int16())
	dst = appendI16(dst, table[kmsg.ApiVersions].Min)
	return appendI16(dst, table[kmsg.ApiVersions].Max)
}
