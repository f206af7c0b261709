package wire

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTableIsIndexedByKey(t *testing.T) {
	for i, api := range Table() {
		if int(api.Key) != i {
			t.Errorf("row %d holds key %d", i, api.Key)
		}
		if api.Why == "" || api.Name == "" {
			t.Errorf("%d %s: needs a name and a reason", api.Key, api.Name)
		}
	}
}

// kmsg must know every version that we let through: what it cannot decode we
// have not read.
func TestTableStaysWithinWhatWeCanRead(t *testing.T) {
	for _, api := range Table() {
		req := api.Key.Request()
		if req == nil {
			t.Fatalf("%s: key %d is unknown to kmsg", api.Name, api.Key)
		}
		if api.Max > req.MaxVersion() || api.Min > api.Max {
			t.Errorf("%s: versions %d-%d, kmsg knows up to %d", api.Name, api.Min, api.Max, req.MaxVersion())
		}
		if !strings.EqualFold(api.Name, api.Key.Name()) && api.Key != 45 {
			t.Errorf("key %d is %s, not %s", api.Key, api.Key.Name(), api.Name)
		}

		for v := int16(0); v <= api.Max; v++ {
			req.SetVersion(v)
			resp := req.ResponseKind()
			if req.IsFlexible() != api.IsFlexible(v) || resp.IsFlexible() != api.IsFlexible(v) {
				t.Errorf("%s v%d: flexible is wrong", api.Name, v)
			}
		}
	}
}

func TestUnknownKeysAndVersionsAreRefused(t *testing.T) {
	for key := kmsg.Key(-5); key < 200; key++ {
		api, listed := Lookup(key)
		frame := AppendRequestHeader(nil, key, 99, 7, nil)
		h, err := ParseRequestHeader(frame)
		if err == nil {
			t.Fatalf("key %d v99 was let through", key)
		}
		if h.Key != key || h.Version != 99 || h.CorrelationID != 7 {
			t.Errorf("key %d: header %+v", key, h)
		}
		if !listed && api.Handling != Refuse {
			t.Errorf("an unlisted key must be refused by its zero value")
		}
	}
}

func TestInterBrokerAndRaftKeysAreRefused(t *testing.T) {
	refused := []kmsg.Key{4, 5, 6, 7, 27, 52, 53, 54, 55, 56, 57, 58, 59, 62, 63, 64, 67, 70, 73, 80, 81, 82, 83, 84, 85, 86, 87, 94}
	for _, key := range refused {
		if api, ok := Lookup(key); ok && api.Handling != Refuse {
			t.Errorf("%s is let through", api.Name)
		}
		if responseReader(key, 0) != nil {
			t.Errorf("key %d is refused, yet its response is read", key)
		}
	}
}

func TestBeforeAuthenticationOnlyThreeKeysAreServed(t *testing.T) {
	for _, api := range Table() {
		want := api.Key == 17 || api.Key == 18 || api.Key == 36
		if api.PreAuth != want {
			t.Errorf("%s: before authentication %v", api.Name, api.PreAuth)
		}
	}
}

func TestResponsesThatAreParsedHaveAReader(t *testing.T) {
	for _, api := range Table() {
		if api.Handling != ParseResponse && api.Handling != ParseBoth {
			if responseReader(api.Key, api.Max) != nil {
				t.Errorf("%s is read without the table saying so", api.Name)
			}
			continue
		}
		if !api.PreAuth && responseReader(api.Key, api.Max) == nil {
			t.Errorf("%s: the table says its response is read", api.Name)
		}
	}
}

// The transaction coordinator's APIs pass both ways untouched; its
// markers are the brokers' own.
func TestTransactionsPassUntouched(t *testing.T) {
	for _, key := range []kmsg.Key{22, 24, 25, 26, 28} {
		if api, _ := Lookup(key); api.Handling != Forward || responseReader(key, api.Max) != nil {
			t.Errorf("%s is not just forwarded", api.Name)
		}
	}

	if api, _ := Lookup(24); api.Max != 3 {
		t.Errorf("AddPartitionsToTxn v%d is the brokers' batched form", api.Max)
	}
	if api, _ := Lookup(27); api.Handling != Refuse {
		t.Error("WriteTxnMarkers is let through")
	}
}
