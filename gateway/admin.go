package gateway

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway/admin"
	"github.com/guardlock/guardlock/gateway/wire"
)

// AdminPolicy judges what clients ask that destroys or weakens evidence, beyond
// what the gateway itself refuses. An error means no. It is called concurrently.
type AdminPolicy interface {
	JudgeAdmin(ctx context.Context, q AdminQuestion) (AdminVerdict, error)
}

// AdminQuestion is who asks for what, and where. Each action of a request is a
// question of its own.
type AdminQuestion struct {
	Client Client
	API    string // as Kafka calls it
	Action admin.Action
	Bound  bool // of a topic: a binding is for it
}

// AdminVerdict is the policy's word on one question. Reasons are codes from its
// closed catalogue, and Revision says which policy it was.
type AdminVerdict struct {
	Allow    bool
	Reasons  []string
	Revision string // of the policy
}

// The gateway's own reasons, beside those of the policy. They stand in the
// decision log and in the answer.
const (
	reasonInternal    = "topic_internal"
	reasonUnbound     = "topic_unbound"
	reasonUnknownID   = "unknown_topic_id"
	reasonPolicy      = "policy_denied"
	reasonUnavailable = "policy_unavailable"
)

// changesEvidence decodes a request of an administrator, has each of its actions
// judged, records the verdict, and forwards or answers it.
func (r *reader) changesEvidence(ctx context.Context, h wire.RequestHeader, frame []byte) error {
	body := frame[h.BodyOffset:]
	req, err := wire.DecodeRequest(h, body)
	if err != nil {
		return err
	}

	if r.cluster.cfg.Embedded {
		if no := broker.Judge(req); no != nil {
			return r.refuseWhole(h, body, no.Code, no.Reason)
		}
	}

	actions := admin.Actions(req)
	if len(actions) == 0 {
		r.forward(h, frame)
		return nil
	}

	b := r.cluster.bindings.Load()
	e := audit.ControlEntry{
		Kind:      audit.KindAdmin,
		Subject:   wire.KeyName(h.Key) + " in cluster " + r.cluster.cfg.Name,
		Principal: r.knownTo(b, h.ClientID).client.Principal,
		Outcome:   "allowed",
	}
	for _, a := range actions {
		r.judgeAction(ctx, b, AdminQuestion{Client: r.known.client, API: wire.KeyName(h.Key), Action: a}, &e)
	}

	// A request that cannot be recorded is not forwarded (invariant 1).
	if err := r.cluster.gw.cfg.Decisions.Record(ctx, e); err != nil {
		r.log.Error("recording an administrative request failed; it is refused", zap.Error(err))
		return r.refuseWhole(h, body, kerr.PolicyViolation.Code, "guardlock: the request cannot be recorded (audit_unavailable)")
	}

	if e.Outcome != "allowed" {
		return r.refuseWhole(h, body, kerr.PolicyViolation.Code, "guardlock: not through this gateway ("+e.Reason+")")
	}
	r.forward(h, frame)
	return nil
}

// judgeAction adds the verdict on one action to the entry. One that is denied
// denies the request.
func (r *reader) judgeAction(ctx context.Context, b *Bindings, q AdminQuestion, e *audit.ControlEntry) {
	reason := ""
	a := &q.Action
	if a.Name == "" && a.TopicID != ([16]byte{}) {
		within, cancel := context.WithTimeout(ctx, r.cluster.gw.cfg.DialTimeout)
		defer cancel()
		var err error
		if a.Name, err = r.cluster.topicName(within, a.TopicID); err != nil {
			reason = reasonUnknownID
		}
	}

	q.Bound = a.Resource == admin.Topic && b.binds(a.Name)
	switch {
	case reason != "":
	case a.Resource != admin.Topic || q.Bound:
		reason = r.askPolicy(ctx, b, q, e)
	case admin.IsInternal(a.Name):
		reason = reasonInternal
	default:
		reason = reasonUnbound
	}

	step := audit.Step{Name: q.API, Verdict: "allowed", Detail: describe(*a)}
	if reason != "" {
		step.Verdict = "denied"
		e.Outcome = "denied"
		e.Reason = reason
	}

	e.Steps = append(e.Steps, step)
}

// askPolicy has the policy in force judge one action and returns its reason
// against it, or nothing. A policy that cannot answer is a no.
func (r *reader) askPolicy(ctx context.Context, b *Bindings, q AdminQuestion, e *audit.ControlEntry) (reason string) {
	if b.admin == nil {
		return ""
	}

	v, err := b.admin.JudgeAdmin(ctx, q)
	e.Revision = v.Revision
	switch {
	case err != nil:
		r.log.Error("the policy cannot judge an administrative request; it is refused", zap.Error(err))
		return reasonUnavailable
	case v.Allow:
		return ""
	case len(v.Reasons) > 0:
		return strings.Join(v.Reasons, ",")
	}

	return reasonPolicy
}

// describe says what an action is about: names of topics and settings, and never
// a value.
func describe(a admin.Action) string {
	about := strings.TrimSpace(string(a.Resource) + " " + a.Name)
	if a.Name == "" && a.TopicID != ([16]byte{}) {
		about = fmt.Sprintf("topic id %x", a.TopicID)
	}

	var names []string
	for _, s := range a.Settings {
		names = append(names, s.Name)
	}

	if len(names) > 0 {
		about += ": " + strings.Join(names, ", ")
	}
	return about
}

// refuseWhole answers a request with one code and text on everything in it, so
// that no part of it looks as if it were done.
func (r *reader) refuseWhole(h wire.RequestHeader, body []byte, code int16, text string) (err error) {
	r.answerLocally(h, func(dst []byte) []byte {
		dst, err = wire.ErrorResponse(dst, h, body, code, text)
		return dst
	})
	return err
}

// metadata keeps a look at topics from making one that nobody bound: brokers
// make topics of names that are asked for.
func (r *reader) metadata(h wire.RequestHeader, frame []byte) error {
	b := r.cluster.bindings.Load()
	if err := wire.ForbidAutoCreation(h.Version, frame[h.BodyOffset:], b.binds); err != nil {
		return err
	}
	r.forward(h, frame)
	return nil
}

// judged reports whether requests of that kind are decoded and judged before
// they go on. All others pass as bytes.
func (r *reader) judged(key kmsg.Key) bool {
	return admin.Concerns(key) || r.cluster.cfg.Embedded && broker.Judges(key)
}
