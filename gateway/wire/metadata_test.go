package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestTopicsOfNobodyAreNotCreatedByALook: in every version that can say so, and
// no other byte of the request changes.
func TestTopicsOfNobodyAreNotCreatedByALook(t *testing.T) {
	for v := int16(4); v <= table[kmsg.Metadata].Max; v++ {
		for _, name := range []string{"ours", "theirs"} {
			req := kmsg.NewPtrMetadataRequest()
			req.Version = v
			newFiller(uint64(v)).fill(req)
			req.AllowAutoTopicCreation = true
			ours := "ours"
			req.Topics = []kmsg.MetadataRequestTopic{{Topic: &ours}, {Topic: &name}}

			body := req.AppendTo(nil)
			err := ForbidAutoCreation(v, body, func(topic string) bool { return topic == "ours" })
			req.AllowAutoTopicCreation = name == "ours"

			if err != nil || !bytes.Equal(body, req.AppendTo(nil)) {
				t.Errorf("v%d with %s: %v", v, name, err)
			}
		}

		all := kmsg.NewPtrMetadataRequest()
		all.Version = v
		body := all.AppendTo(nil)
		if err := ForbidAutoCreation(v, body, func(string) bool { return false }); err != nil || !bytes.Equal(body, all.AppendTo(nil)) {
			t.Errorf("v%d of all topics: %v", v, err)
		}
	}
}

func FuzzForbidAutoCreation(f *testing.F) {
	servedRequests(1, func(api API, v int16, req kmsg.Request) {
		if api.Key == kmsg.Metadata {
			f.Add(v, req.AppendTo(nil))
		}
	})
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if !table[kmsg.Metadata].Serves(version) {
			return
		}
		err := ForbidAutoCreation(version, body, func(string) bool { return false })
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
}
