// Package admission decides which modules may run where, and builds from that
// the bindings that the gateway serves under.
//
// The order is fixed, cheapest and safest first, and each step's verdict goes
// into the decision log: sizes and digest, author's signature, approvals (all
// three in signing), structural scan and imports (transforms.Inspect, before any
// engine sees the bytes), policy, then compile, instantiate, configure. A module
// that fails any step is not loaded, and a binding that needs it refuses all
// that is produced to its topics.
//
// Trust: everything a module package says about itself is hostile. What counts
// is the trust root, the policy, and what they vouch for.
package admission

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// Recorder makes a control-plane decision durable before it takes effect.
type Recorder interface {
	Record(ctx context.Context, c audit.ControlEntry) error
}

// Module is a module package as configured. A Missing error stands for files
// that could not be read: the module is refused with it.
type Module struct {
	Name    string
	Package signing.Package
	Missing error
}

// Place is where a module is to run: the facts of its binding.
type Place struct {
	Binding    string
	Topics     []string
	Principals []string
	ClientIDs  []string
	Sources    []netip.Prefix
	TLS        gateway.TLSLevel
	DataClass  string
}

// facts are the place as policy sees it.
func (p Place) facts() policy.Binding {
	b := policy.Binding{
		Topics:     p.Topics,
		Principals: p.Principals,
		ClientIDs:  p.ClientIDs,
		TLS:        p.TLS.String(),
		DataClass:  p.DataClass,
	}
	for _, s := range p.Sources {
		b.Sources = append(b.Sources, s.String())
	}

	return b
}

// Admitter holds what admission is decided by. It is immutable; a change of
// trust or policy makes a new one. Safe for concurrent use.
type Admitter struct {
	Trust   *signing.TrustRoot
	Policy  *policy.Engine
	Runtime *transforms.Runtime
	Keys    map[string][]byte // secrets by name
	Record  Recorder
	Node    string
	Version string
	Limits  policy.Limits // what holds where approvals say nothing
	Now     func() time.Time
}

// Admitted is a module that may run, and under what.
type Admitted struct {
	Module         *transforms.Module
	GrantDigest    [32]byte
	PolicyRevision string
	ValidUntil     time.Time
}

// Refused says why a module may not run. Code is from a closed catalogue.
type Refused struct {
	Module  string
	Outcome audit.Outcome // OutcomeNoModule or OutcomePolicyDenied
	Code    string
	Err     error
}

func (r *Refused) Error() string {
	return fmt.Sprintf("module %s is refused (%s): %v", r.Module, r.Code, r.Err)
}

func (r *Refused) Unwrap() error { return r.Err }

// trial is one admission under way.
type trial struct {
	*Admitter
	module Module
	place  Place
	steps  []audit.Step
	now    time.Time

	verified signing.Verified
	info     transforms.Info
	decision policy.Decision
}

// Admit takes a module through every step. The verdict, with all steps, is
// durable before it returns; if it cannot be recorded the module is refused.
func (a *Admitter) Admit(ctx context.Context, m Module, at Place) (Admitted, error) {
	t := trial{Admitter: a, module: m, place: at, now: a.Now()}
	loaded, refused := t.run(ctx)
	if err := a.Record.Record(ctx, t.entry(refused)); err != nil {
		if loaded != nil {
			loaded.Close(ctx)
		}
		return Admitted{}, fmt.Errorf("recording the admission of module %s: %w", m.Name, err)
	}

	if refused != nil {
		return Admitted{}, refused
	}
	return Admitted{
		Module:         loaded,
		GrantDigest:    t.verified.GrantDigest,
		PolicyRevision: t.decision.PolicyRevision,
		ValidUntil:     t.decision.ValidUntil,
	}, nil
}

// Holds asks what can end at any moment: whether author and approvers vouch for a
// package now, under this trust root. Policy and sandbox are not asked, and nothing
// is recorded; nil is yes.
func (a *Admitter) Holds(ctx context.Context, m Module) *Refused {
	t := trial{Admitter: a, module: m, now: a.Now()}
	if refused := t.checkFiles(ctx); refused != nil {
		return refused
	}

	return t.checkSignatures(ctx)
}

func (t *trial) run(ctx context.Context) (*transforms.Module, *Refused) {
	for _, step := range []struct {
		name string
		do   func(context.Context) *Refused
	}{{"package", t.checkFiles}, {"signatures", t.checkSignatures}, {"scan", t.scan}, {"policy", t.askPolicy}} {
		refused := step.do(ctx)
		t.note(step.name, refused)
		if refused != nil {
			return nil, refused
		}
	}

	m, refused := t.load(ctx)
	t.note("load", refused)
	return m, refused
}

func (t *trial) note(name string, refused *Refused) {
	s := audit.Step{Name: name, Verdict: "passed"}
	if refused != nil {
		s.Verdict = "refused"
		s.Detail = refused.Code
	}
	t.steps = append(t.steps, s)
}

func (t *trial) refuse(o audit.Outcome, code string, err error) *Refused {
	return &Refused{Module: t.module.Name, Outcome: o, Code: code, Err: err}
}

func (t *trial) checkFiles(context.Context) *Refused {
	if t.module.Missing != nil {
		return t.refuse(audit.OutcomeNoModule, "package_unreadable", t.module.Missing)
	}
	return nil
}

func (t *trial) checkSignatures(ctx context.Context) *Refused {
	v, err := t.Trust.VerifyPackage(ctx, t.module.Package, t.now)
	if err != nil {
		return t.refuse(audit.OutcomeNoModule, signatureCode(err), err)
	}
	t.verified = v
	return nil
}

// signatureCodes maps what signing refuses to codes, most specific first.
var signatureCodes = []struct {
	err  error
	code string
}{
	{signing.ErrRevoked, "revoked"}, {signing.ErrUnsigned, "unsigned"}, {signing.ErrDigestMismatch, "digest_mismatch"},
	{signing.ErrConfigChanged, "config_changed"}, {signing.ErrAudience, "audience_other"}, {signing.ErrExpired, "expired"}, {signing.ErrNotYetValid, "not_yet_valid"},
	{signing.ErrAuthorApproved, "author_approved"}, {signing.ErrWrongKey, "untrusted_key"}, {signing.ErrTooLarge, "too_large"},
	{signing.ErrThreshold, "approvals_missing"},
}

func signatureCode(err error) string {
	for _, c := range signatureCodes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "signature_invalid"
}

func (t *trial) scan(context.Context) *Refused {
	info, err := transforms.Inspect(t.module.Package.Wasm, transforms.ScanLimits{})
	if err != nil {
		return t.refuse(audit.OutcomeNoModule, "hostile_or_malformed", err)
	}

	t.info = info
	for _, i := range info.Imports {
		name := i.String()
		if name == "env.abort" {
			continue
		}
		if !transforms.KnownHostFunction(name) {
			return t.refuse(audit.OutcomeNoModule, "import_unknown", fmt.Errorf("it imports %s, which is no host function", name))
		}
		if !slices.Contains(t.verified.Grant.HostFunctions, name) {
			return t.refuse(audit.OutcomeNoModule, "import_not_approved", fmt.Errorf("it imports %s, which its approvals do not grant", name))
		}
	}

	return nil
}

func (t *trial) imports() []string {
	var names []string
	for _, i := range t.info.Imports {
		if n := i.String(); n != "env.abort" {
			names = append(names, n)
		}
	}
	return names
}

func (t *trial) askPolicy(ctx context.Context) *Refused {
	v := t.verified
	d, err := t.Policy.Decide(ctx, policy.Input{
		Module: policy.Module{
			Name:      t.module.Name,
			Digest:    hex.EncodeToString(v.Digest[:]),
			Size:      int64(len(t.module.Package.Wasm)),
			Imports:   t.imports(),
			Author:    string(v.Author),
			Approvers: identities(v.Approvers),
		},
		Grant: policy.Grant{
			Topics:        v.Grant.Topics,
			HostFunctions: v.Grant.HostFunctions,
			Keys:          v.Grant.Keys,
			Routes:        v.Grant.Routes,
			Limits:        policy.Limits(v.Grant.Limits),
			NotBefore:     v.Grant.NotBefore,
			NotAfter:      v.Grant.NotAfter,
			Digest:        hex.EncodeToString(v.GrantDigest[:]),
			Audience:      v.Grant.Audience,
		},
		Binding: t.place.facts(),
		Gateway: policy.Gateway{
			ID:          t.Node,
			Version:     t.Version,
			Limits:      t.Limits,
			Environment: t.Trust.Gateway().Environment,
			ClockSkewMS: t.Trust.Gateway().ClockSkew.Milliseconds(),
		},
		Now: t.now,
	})
	if err != nil {
		return t.refuse(audit.OutcomePolicyDenied, "policy_error", err)
	}

	t.decision = d
	if !d.Allow {
		code := "policy_denied"
		if len(d.Reasons) > 0 {
			code = d.Reasons[0]
		}
		return t.refuse(audit.OutcomePolicyDenied, code, fmt.Errorf("policy %.12s denies it: %v", d.PolicyRevision, d.Reasons))
	}

	return nil
}

func identities(ids []signing.Identity) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

func (t *trial) load(ctx context.Context) (*transforms.Module, *Refused) {
	for _, name := range t.imports() {
		if !slices.Contains(t.decision.HostFunctions, name) {
			return nil, t.refuse(audit.OutcomePolicyDenied, "import_not_allowed", fmt.Errorf("it imports %s, which policy does not allow here", name))
		}
	}

	keys := make([]transforms.Key, 0, len(t.verified.Grant.Keys))
	for _, name := range t.verified.Grant.Keys {
		secret, ok := t.Keys[name]
		if !ok {
			return nil, t.refuse(audit.OutcomeNoModule, "key_missing", fmt.Errorf("its approval names key %s, which is not in keys of the configuration", name))
		}
		keys = append(keys, transforms.Key{Name: name, Secret: secret})
	}

	l := t.decision.Limits
	m, err := t.Runtime.Load(ctx, transforms.Spec{
		Name:   t.module.Name,
		Wasm:   t.module.Package.Wasm,
		Config: t.module.Package.Config,
		Grant: transforms.Grant{
			HostFunctions: t.decision.HostFunctions,
			Keys:          keys,
			Routes:        t.verified.Grant.Routes,
			Limits: transforms.Limits{
				MemoryBytes: uint32(min(l.MemoryBytes, 1<<32-1)),
				Deadline:    time.Duration(l.DeadlineMS) * time.Millisecond,
				OutputBytes: int(l.OutputBytes),
				Instances:   int(l.Instances),
			},
		},
	})
	if err != nil {
		return nil, t.refuse(audit.OutcomeNoModule, "load_failed", err)
	}

	return m, nil
}

// entry is the log's record of this admission.
func (t *trial) entry(refused *Refused) audit.ControlEntry {
	e := audit.ControlEntry{
		Kind:     audit.KindAdmission,
		Subject:  t.place.Binding,
		Outcome:  "allowed",
		Steps:    t.steps,
		Revision: t.Policy.Revision(),
		Module:   audit.ModuleRef{Name: t.module.Name, Digest: sha256.Sum256(t.module.Package.Wasm)},
	}

	if refused != nil {
		e.Outcome = "denied"
		e.Reason = refused.Code
	}

	return e
}
