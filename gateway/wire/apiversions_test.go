package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// upstreamVersions is a cluster that offers every key in every version.
func upstreamVersions(version int16) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = version
	for key := int16(0); key < 120; key++ {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey = key
		k.MinVersion = 0
		k.MaxVersion = 50
		resp.ApiKeys = append(resp.ApiKeys, k)
	}

	s := kmsg.NewApiVersionsResponseSupportedFeature()
	s.Name = "transaction.version"
	s.MaxVersion = 2
	f := kmsg.NewApiVersionsResponseFinalizedFeature()
	f.Name = "transaction.version"
	f.MaxVersionLevel = 2
	f.MinVersionLevel = 2
	resp.SupportedFeatures = append(resp.SupportedFeatures, s)
	resp.FinalizedFeatures = append(resp.FinalizedFeatures, f)

	return resp
}

func clientSees(t *testing.T, upstream *kmsg.ApiVersionsResponse, o ApiOptions) (*kmsg.ApiVersionsResponse, map[kmsg.Key]kmsg.ApiVersionsResponseApiKey) {
	t.Helper()
	out, err := RewriteApiVersions(nil, upstream.Version, responseFrame(6, upstream), o)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out[:4], []byte{0, 0, 0, 6}) {
		t.Fatalf("correlation %x", out[:4])
	}

	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = upstream.Version
	if err := resp.ReadFrom(out[4:]); err != nil {
		t.Fatal(err)
	}

	keys := make(map[kmsg.Key]kmsg.ApiVersionsResponseApiKey)
	for _, k := range resp.ApiKeys {
		keys[kmsg.Key(k.ApiKey)] = k
	}

	return resp, keys
}

// Clients see the keys and versions that both sides know, no others.
func TestApiVersionsAreIntersected(t *testing.T) {
	for v := int16(0); v <= 5; v++ {
		_, keys := clientSees(t, upstreamVersions(v), ApiOptions{})
		for _, api := range Table() {
			k, seen := keys[api.Key]
			if seen != (api.Handling != Refuse && !api.OptIn) {
				t.Errorf("v%d: %s seen: %v", v, api.Name, seen)
			}
			if seen && (k.MaxVersion != api.Max || k.MinVersion != api.Min && api.Key != kmsg.Produce) {
				t.Errorf("v%d: %s %d-%d", v, api.Name, k.MinVersion, k.MaxVersion)
			}

			delete(keys, api.Key)
		}

		if len(keys) != 0 {
			t.Errorf("v%d: keys that we do not know: %v", v, keys)
		}
	}

	old := upstreamVersions(3)
	old.ApiKeys = old.ApiKeys[:4]
	old.ApiKeys[1].MaxVersion = 11 // Fetch
	old.ApiKeys[2].MaxVersion = 0  // ListOffsets: below what we serve

	_, keys := clientSees(t, old, ApiOptions{})
	if _, seen := keys[2]; seen || keys[1].MaxVersion != 11 || len(keys) != 3 {
		t.Errorf("an older cluster: %v", keys)
	}
}

// The Produce minimum stays 0, whatever either side serves (KAFKA-18659).
func TestProduceMinimumStaysZero(t *testing.T) {
	up := upstreamVersions(3)
	up.ApiKeys[kmsg.Produce].MinVersion = 3
	_, keys := clientSees(t, up, ApiOptions{})
	if k := keys[kmsg.Produce]; k.MinVersion != 0 || k.MaxVersion != 13 {
		t.Errorf("Produce %d-%d", k.MinVersion, k.MaxVersion)
	}

	up.ApiKeys[kmsg.Produce].MinVersion = 14
	if _, keys = clientSees(t, up, ApiOptions{}); keys[kmsg.Produce].MaxVersion != 0 {
		t.Errorf("a cluster with which we share no version: %v", keys[kmsg.Produce])
	}
}

// An upstream that does not know the version asked answers in v0.
func TestUpstreamMayAnswerInV0(t *testing.T) {
	up := kmsg.NewPtrApiVersionsResponse()
	up.ErrorCode = 35
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey = 18
	k.MaxVersion = 9
	up.ApiKeys = append(up.ApiKeys, k)

	out, err := RewriteApiVersions(nil, 5, responseFrame(1, up), ApiOptions{})
	if err != nil {
		t.Fatal(err)
	}

	up.ApiKeys[0].MaxVersion = 5
	if !bytes.Equal(out, responseFrame(1, up)) {
		t.Fatalf("%x", out)
	}
}

// The client's idea of cluster and node stays on this side (KIP-1242).
func TestClusterAndNodeIdAreNulled(t *testing.T) {
	for v := int16(0); v <= 5; v++ {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version = v
		newFiller(uint64(v) + 2).fill(req)
		req.ClusterID = kmsg.StringPtr("virtual")
		req.NodeID = 7
		frame := requestFrame(4, req)

		h, err := ParseRequestHeader(frame)
		if err != nil {
			t.Fatal(err)
		}

		out, err := RewriteApiVersionsRequest(nil, h, frame)
		if err != nil {
			t.Fatal(err)
		}

		req.ClusterID = nil
		req.NodeID = -1
		if !bytes.Equal(out, requestFrame(4, req)) {
			t.Errorf("v%d:\n got %x\nwant %x", v, out, requestFrame(4, req))
		}

		for n := h.BodyOffset; v == 5 && n < len(frame); n++ {
			if _, err := RewriteApiVersionsRequest(nil, h, frame[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
}

// With Produce capped below 12, transaction.version 2 must not be seen.
func TestCappingProduceTakesTransactionVersionDown(t *testing.T) {
	resp, _ := clientSees(t, upstreamVersions(4), ApiOptions{})
	if resp.FinalizedFeatures[0].MaxVersionLevel != 2 || resp.SupportedFeatures[0].MaxVersion != 2 {
		t.Errorf("uncapped: %+v", resp.FinalizedFeatures)
	}

	resp, keys := clientSees(t, upstreamVersions(4), ApiOptions{Caps: map[kmsg.Key]int16{kmsg.Produce: 11}})
	if keys[kmsg.Produce].MaxVersion != 11 {
		t.Errorf("Produce up to %d", keys[kmsg.Produce].MaxVersion)
	}

	f := resp.FinalizedFeatures[0]
	if f.MaxVersionLevel != 1 || f.MinVersionLevel != 1 || resp.SupportedFeatures[0].MaxVersion != 1 {
		t.Errorf("capped: %+v", f)
	}

	older := upstreamVersions(4)
	older.ApiKeys[kmsg.Produce].MaxVersion = 9 // the cluster's own cap counts as well
	if resp, _ = clientSees(t, older, ApiOptions{}); resp.FinalizedFeatures[0].MaxVersionLevel != 1 {
		t.Errorf("an older cluster: %+v", resp.FinalizedFeatures)
	}
}

// Metrics go around record policy; they are opt-in, in what is
// announced and in what is let through.
func TestTelemetryIsStrippedUnlessEnabled(t *testing.T) {
	for _, key := range []kmsg.Key{71, 72} {
		off := ApiOptions{}
		on := ApiOptions{Telemetry: true}
		_, without := clientSees(t, upstreamVersions(3), off)
		_, with := clientSees(t, upstreamVersions(3), on)

		if _, seen := without[key]; seen || off.Serves(key, 0) {
			t.Errorf("key %d is on by default", key)
		}
		if _, seen := with[key]; !seen || !on.Serves(key, 0) {
			t.Errorf("key %d cannot be enabled", key)
		}
	}
}

func TestTerminatedSASLIsAnnouncedByTheGateway(t *testing.T) {
	up := upstreamVersions(3)
	up.ApiKeys = up.ApiKeys[:10]
	_, keys := clientSees(t, up, ApiOptions{TerminateSASL: true})
	if keys[17].MaxVersion != 1 || keys[36].MaxVersion != 2 {
		t.Errorf("%v", keys)
	}

	resp, _ := clientSees(t, upstreamVersions(3), ApiOptions{TerminateSASL: true})
	n := 0
	for _, k := range resp.ApiKeys {
		if isSASL(kmsg.Key(k.ApiKey)) {
			n++
		}
	}

	if n != 2 {
		t.Errorf("announced %d times", n)
	}
}

func TestCapsHoldAtDispatch(t *testing.T) {
	o := ApiOptions{Caps: map[kmsg.Key]int16{kmsg.Fetch: 15}}
	if !o.Serves(kmsg.Fetch, 15) || o.Serves(kmsg.Fetch, 16) || o.Serves(kmsg.Fetch, 3) || o.Serves(27, 0) || o.Serves(-1, 0) {
		t.Error("what is let through is not what is announced")
	}
}

func FuzzRewriteApiVersions(f *testing.F) {
	for v := int16(0); v <= 5; v++ {
		f.Add(v, responseFrame(1, upstreamVersions(v)))
	}
	f.Fuzz(func(t *testing.T, v int16, frame []byte) {
		if v < 0 || v > 5 {
			return
		}
		out, err := RewriteApiVersions(nil, v, frame, ApiOptions{})
		if err == nil && len(out) > len(frame)+64 {
			t.Fatalf("%d bytes from %d", len(out), len(frame))
		}
	})
}
