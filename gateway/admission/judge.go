package admission

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/pattern"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/transforms"
)

// judgement is what is true of an examined package at a place: the steps from
// topics to policy, and for how long they hold.
type judgement struct {
	journal
	decision policy.Decision
	refused  *Refused
	from     time.Time // before this it must be asked again; zero: open
	until    time.Time // and from this on
	keep     time.Time // until when it need not be asked for another reload; zero: open
}

// judge asks whether an examined package may run at a place. It stops at the first
// step that refuses. Without ask, policy is not asked now, which is no verdict.
func (a *Admitter) judge(ctx context.Context, e *examination, at Place, ask bool) *judgement {
	j := &judgement{from: e.from, until: e.until, keep: e.until}
	if e.refused != nil {
		j.refused = e.refused
		return j
	}

	if j.refused = a.checkTopics(e, at); j.refused != nil {
		j.journal.refused(StepTopics, j.refused)
		return j
	}

	j.passed(StepTopics, listed(at.Topics, "none")+" within "+strings.Join(e.verified.Grant.Topics, ", "))

	if ask {
		j.refused = a.askPolicy(ctx, e, at, j)
	} else {
		j.refused = refuse(e.module, audit.OutcomeUnavailable, "policy_unavailable", errNotAsked)
	}

	if j.refused != nil {
		j.journal.refused(StepPolicy, j.refused)
		j.keep = earlier(j.keep, a.Now().Add(denialHolds))
		return j
	}

	j.until = earlier(j.until, j.decision.ValidUntil)
	j.keep = j.until
	j.passed(StepPolicy, fmt.Sprintf("allowed until %s, revision %.12s", j.decision.ValidUntil.UTC().Format(time.RFC3339), j.decision.PolicyRevision))

	return j
}

// checkTopics is a floor that policy cannot lift: a module runs on what was approved
// and nowhere else, whatever a policy allows.
func (a *Admitter) checkTopics(e *examination, at Place) *Refused {
	for _, topic := range at.Topics {
		if !pattern.Covered(e.verified.Grant.Topics, topic) {
			return refuse(e.module, audit.OutcomeNoModule, "topic_not_granted",
				fmt.Errorf("the binding reaches %s; approved is %s", topic, strings.Join(e.verified.Grant.Topics, ", ")))
		}
	}

	return nil
}

// askPolicy asks the policy about a package at a place. A policy that could not
// be asked is no verdict. One that leaves out a host function which the module
// imports says no.
func (a *Admitter) askPolicy(ctx context.Context, e *examination, at Place, j *judgement) *Refused {
	in := e.told
	in.Binding = at.facts()
	in.Now = a.Now()

	d, err := a.Policy.Decide(ctx, in)
	switch {
	case err != nil && gaveUp(err):
		return refuse(e.module, audit.OutcomeUnavailable, "policy_unavailable", fmt.Errorf("the policy could not be asked: %w", err))
	case err != nil:
		return refuse(e.module, audit.OutcomePolicyDenied, "policy_error", err)
	}

	j.decision = d
	if !d.Allow {
		return denied(e, d)
	}

	for _, name := range in.Module.Imports {
		if !slices.Contains(d.HostFunctions, name) {
			return refuse(e.module, audit.OutcomePolicyDenied, "import_not_allowed", fmt.Errorf("it imports %s, which policy does not allow here", name))
		}
	}

	return nil
}

// denied is a no of the policy, in the policy's own words and codes.
func denied(e *examination, d policy.Decision) *Refused {
	code := "policy_denied"
	if len(d.Reasons) > 0 {
		code = d.Reasons[0]
	}

	var reasons []string
	for _, r := range d.Why {
		reasons = append(reasons, told(r))
	}
	return refuse(e.module, audit.OutcomePolicyDenied, code,
		fmt.Errorf("policy %.12s denies it: %s", d.PolicyRevision, listed(reasons, "it gives no reason")))
}

// told is a reason with all that the policy says of it: what was found and what is
// allowed, and title and description of its rule.
func told(r policy.Reason) string {
	text := r.Code
	if r.Detail != "" {
		text += ": " + r.Detail
	}

	about := r.Title
	if d := strings.Join(strings.Fields(r.Description), " "); d != "" {
		about = strings.TrimPrefix(about+". "+d, ". ")
	}
	if about != "" {
		text += " (" + about + ")"
	}

	return text
}

// gaveUp reports whether an error says nothing about what was asked: the policy was
// not let run, or the asker went away. A policy that used up its processor time was
// asked: that it decided nothing is its answer.
func gaveUp(err error) bool {
	return errors.Is(err, policy.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// start starts the module with what was granted, or finds it started with the
// same. The caller gives it back to the Pools.
func (a *Admitter) start(ctx context.Context, e *examination, at Place, d policy.Decision) (*running, *Refused) {
	keys := make([]transforms.Key, 0, len(e.verified.Grant.Keys))
	for _, name := range e.verified.Grant.Keys {
		secret, ok := a.secret(name)
		if !ok {
			return nil, refuse(e.module, audit.OutcomeNoModule, "key_missing",
				fmt.Errorf("its approval names key %s, which is not in keys of the configuration", name))
		}
		keys = append(keys, transforms.Key{Name: name, Secret: secret})
	}

	tables, refused := a.tables(e)
	if refused != nil {
		return nil, refused
	}

	l := d.Limits
	spec := transforms.Spec{
		Name:   e.module.Name,
		Wasm:   e.module.Package.Wasm,
		Config: e.module.Package.Config,
		Topic:  e.verified.Grant.Topics[0],
		Tables: tables,
		Apart:  at.Isolation == Apart,
		Grant: transforms.Grant{
			HostFunctions: d.HostFunctions,
			Keys:          keys,
			Routes:        e.verified.Grant.Routes,
			Limits: transforms.Limits{
				MemoryBytes: uint32(min(l.MemoryBytes, 1<<32-1)),
				Deadline:    time.Duration(l.DeadlineMS) * time.Millisecond,
				OutputBytes: int(l.OutputBytes),
				Instances:   int(l.Instances),
			},
		},
	}

	m, err := a.Pools.take(ctx, a, poolKeyOf(e, spec), spec)
	switch {
	case err != nil && gaveUp(err):
		return nil, refuse(e.module, audit.OutcomeUnavailable, "start_unavailable", fmt.Errorf("it could not be started: %w", err))
	case err != nil:
		return nil, refuse(e.module, audit.OutcomeNoModule, "load_failed", err)
	}

	return m, nil
}

// tables opens the tables of a module, each of which must be as the approved
// configuration says. Where nothing is to run, none need be there.
func (a *Admitter) tables(e *examination) (map[string]*transforms.Table, *Refused) {
	if !transforms.UsesTables(e.info) || a.MakeKeys && e.module.Tables == nil {
		return nil, nil
	}

	files := e.module.Tables
	tables, err := transforms.OpenTables(e.module.Package.Config, func(name, _ string) (*transforms.TableContent, error) {
		if files[name] == nil {
			return nil, transforms.ErrTableMissing
		}
		return files[name], nil
	})

	for name := range files {
		if err == nil && tables[name] == nil {
			err = fmt.Errorf("table %s: %w", name, transforms.ErrTableNotApproved)
		}
	}
	if err == nil {
		return tables, nil
	}

	return nil, refuse(e.module, audit.OutcomeNoModule, tableCode(err), err)
}

// tableCode is the code of what is wrong with a table.
func tableCode(err error) string {
	switch {
	case errors.Is(err, transforms.ErrTableMissing):
		return "table_missing"
	case errors.Is(err, transforms.ErrTableNotApproved):
		return "table_not_approved"
	case errors.Is(err, transforms.ErrTableMalformed):
		return "table_malformed"
	}
	return "load_failed"
}

// secret is the key of a name. Where MakeKeys says that nothing is to run,
// random bytes stand in for one that is not there.
func (a *Admitter) secret(name string) ([]byte, bool) {
	secret, ok := a.Keys[name]
	if ok || !a.MakeKeys {
		return secret, ok
	}

	secret = make([]byte, 32)
	rand.Read(secret) // never fails
	return secret, true
}

// alike reports whether the policy makes no difference between this place and others
// that have other topics. It is asked for topics that the grant covers, and of which
// every character is a topic's: policies refuse others.
func (a *Admitter) alike(e *examination, at Place) bool {
	if !a.Policy.TopicsAlike() || e.refused != nil || len(at.Topics) == 0 || a.checkTopics(e, at) != nil {
		return false
	}
	return !slices.ContainsFunc(at.Topics, func(topic string) bool {
		return len(topic) > maxTopic || strings.Trim(topic, topicCharacters) != ""
	})
}

// What the names of topics and the patterns of them are made of. Topics with
// anything else are not taken to be alike, since policies refuse them.
const (
	maxTopic        = 249
	topicCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-*"
)

// facts are the place as policy sees it. Lists are as configured, and the level
// of TLS is a word.
func (p Place) facts() policy.Binding {
	b := policy.Binding{
		Topics:     p.Topics,
		Principals: p.Principals,
		ClientIDs:  p.ClientIDs,
		TLS:        p.TLS.String(),
		DataClass:  p.DataClass,
		Isolation:  string(cmp.Or(p.Isolation, Shared)),
	}
	for _, s := range p.Sources {
		b.Sources = append(b.Sources, s.String())
	}

	return b
}

// digest is equal for places that are the same to policy, with their topics or
// without. Each text stands after its length, and each list after its count, so
// that no two places are spelled alike.
func (p Place) digest(topics bool) [32]byte {
	raw := make([]byte, 0, 256)
	raw = append(raw, 0)
	if !topics {
		raw[0] = 1
		p.Topics = nil
	}

	text := func(s string) {
		raw = binary.AppendUvarint(raw, uint64(len(s)))
		raw = append(raw, s...)
	}

	for _, list := range [][]string{p.Topics, p.Principals, p.ClientIDs} {
		raw = binary.AppendUvarint(raw, uint64(len(list)))
		for _, s := range list {
			text(s)
		}
	}

	raw = binary.AppendUvarint(raw, uint64(len(p.Sources)))
	for _, s := range p.Sources {
		text(s.String())
	}

	raw = append(raw, byte(p.TLS))
	text(p.DataClass)
	text(string(cmp.Or(p.Isolation, Shared)))
	return sha256.Sum256(raw)
}

// earlier is the first of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// later is the last of two times, of which zero is before all others.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
