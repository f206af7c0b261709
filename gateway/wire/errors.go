package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrorResponse appends the response frame that tells a client that its
// request failed with code: a well-formed answer to any API that the table
// serves, the code at the top or, where the API has none there, on every item
// of the request. body is the request's, behind the header. msg reaches the
// client where the API has room for it; it must hold nothing from records and
// no upstream address.
//
// A Produce request with acks=0 is answered with nothing: dst comes back as it
// was (trap 6).
func ErrorResponse(dst []byte, h RequestHeader, body []byte, code int16, msg string) ([]byte, error) {
	f := failure{code: code}
	if msg != "" {
		msg = msg[:min(len(msg), maxMessage)]
		f.msg = &msg
	}
	if h.Key == keyProduce {
		return f.produce(dst, h, body, msg)
	}
	if len(body) > MaxDecoded {
		return dst, ErrTooLarge
	}
	if err := CheckRequest(h.Key, h.Version, body); err != nil {
		return dst, err
	}
	req := kmsg.RequestForKey(h.Key)
	req.SetVersion(h.Version)
	if err := req.ReadFrom(body); err != nil {
		return dst, fmt.Errorf("decoding request: %w", ErrMalformed)
	}
	resp := req.ResponseKind()
	if !f.fill(req, resp) {
		return dst, ErrRefused
	}
	return resp.AppendTo(AppendResponseHeader(dst, h.Key, h.Version, h.CorrelationID)), nil
}

// failure is what goes wrong, to be written into a response of any kind.
type failure struct {
	code int16
	msg  *string // nil is null
}

// fill writes the failure into resp. False means an API that nobody taught us
// to refuse, which a test keeps from happening.
func (f failure) fill(req kmsg.Request, resp kmsg.Response) bool {
	return f.group(resp) || f.transaction(resp) || f.cluster(resp) || f.shared(resp) ||
		f.records(req, resp) || f.topics(req, resp) || f.offsets(req, resp) ||
		f.groups(req, resp) || f.admin(req, resp) || f.configs(req, resp)
}

func (f failure) produce(dst []byte, h RequestHeader, body []byte, msg string) ([]byte, error) {
	var p Produce
	if err := ParseProduce(h.Version, body, &p); err != nil {
		return dst, err
	}
	if p.Acks == 0 {
		return dst, nil
	}
	for i := range p.Topics {
		for j := range p.Topics[i].Partitions {
			q := &p.Topics[i].Partitions[j]
			q.Skip, q.Result = true, Failed(f.code, msg, nil)
		}
	}
	return AppendProduceResponse(dst, h.CorrelationID, &p), nil
}

// answers makes one answer for each item of a request.
func answers[Q, R any](items []Q, answer func(*Q) R) []R {
	out := make([]R, 0, len(items))
	for i := range items {
		out = append(out, answer(&items[i]))
	}
	return out
}
