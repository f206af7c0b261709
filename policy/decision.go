package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Decision is what a policy decided, held to the floor: it never allows more
// than what was approved.
type Decision struct {
	Allow          bool
	Reasons        []string // codes, in order; why not, when not allowed
	Why            []Reason // the same, as people can be told
	HostFunctions  []string // in order; none when not allowed
	Limits         Limits   // never above the grant's, or the gateway's where it has none
	ValidUntil     time.Time
	PolicyRevision string
}

// Reason is why a policy denies: its code, and what can be told to a person
// beside it.
type Reason struct {
	Code        string
	Title       string // of the rule that gives it, if its author described it
	Description string // the same
	Detail      string // what was found and what is allowed, if the policy says so
}

// String is the reason in one line, as "grant_too_long: 500 days, at most 180".
// Without a detail it has the title, or the code alone.
func (r Reason) String() string {
	if text := cmp.Or(r.Detail, r.Title); text != "" {
		return r.Code + ": " + text
	}
	return r.Code
}

const (
	maxReasons     = 256
	maxDetailBytes = 256
)

// parseDecision reads a decision about a module strictly: every field must be
// there, and none besides. Only details may be left out.
func parseDecision(result json.RawMessage) (Decision, error) {
	return parseFields(result, "allow", "reasons", "host_functions", "limits", "valid_until", "details")
}

// parseAdminDecision reads a decision about an administrative request, as
// strictly. There is nothing to grant in it.
func parseAdminDecision(result json.RawMessage) (Decision, error) {
	return parseFields(result, "allow", "reasons", "details")
}

// parseFields reads a decision of exactly the named fields. A null, which would
// be read as a zero value, is an error like a missing field.
func parseFields(result json.RawMessage, names ...string) (Decision, error) {
	dec := json.NewDecoder(bytes.NewReader(result))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return Decision{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}

	if m, ok := value.(map[string]any); ok && m["details"] == nil {
		m["details"] = map[string]any{} // it may be left out
	}
	fields, err := exactly(value, names...)
	if err != nil {
		return Decision{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}

	if limits, ok := fields["limits"]; ok {
		if _, err := exactly(limits, "memory_bytes", "deadline_ms", "output_bytes", "instances"); err != nil {
			return Decision{}, fmt.Errorf("%w: limits: %w", ErrMalformed, err)
		}
	}

	raw, err := json.Marshal(fields)
	if err != nil {
		return Decision{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}

	var wire struct {
		Allow         bool              `json:"allow"`
		Reasons       []string          `json:"reasons"`
		HostFunctions []string          `json:"host_functions"`
		Limits        Limits            `json:"limits"`
		ValidUntil    time.Time         `json:"valid_until"`
		Details       map[string]string `json:"details"`
	}

	if hasNull(value) {
		return Decision{}, fmt.Errorf("%w: null", ErrMalformed)
	}
	if err := json.Unmarshal(raw, &wire); err != nil {
		return Decision{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}

	d := Decision{
		Allow:         wire.Allow,
		Reasons:       slices.Compact(slices.Sorted(slices.Values(wire.Reasons))),
		HostFunctions: slices.Compact(slices.Sorted(slices.Values(wire.HostFunctions))),
		Limits:        wire.Limits,
		ValidUntil:    wire.ValidUntil,
	}
	for _, code := range d.Reasons {
		d.Why = append(d.Why, Reason{Code: code, Detail: wire.Details[code]})
	}

	return d, d.check()
}

// explain adds what the policy's author said of the rules that gave the reasons.
func (d *Decision) explain(rules map[string]Rule) {
	for i, r := range d.Why {
		d.Why[i].Title = rules[r.Code].Title
		d.Why[i].Description = strings.TrimSpace(rules[r.Code].Description)
	}
}

// check refuses values that no field may have. Reasons are codes, since they
// reach producers and the decision log: free text could carry what should not.
func (d Decision) check() error {
	if len(d.Reasons) > maxReasons {
		return fmt.Errorf("%w: more than %d reasons", ErrMalformed, maxReasons)
	}
	for _, r := range d.Reasons {
		if !isCode(r) {
			return fmt.Errorf("%w: a reason must be a code of 1 to 64 of a-z, 0-9, '_' and '.'", ErrMalformed)
		}
	}

	for _, r := range d.Why {
		if len(r.Detail) > maxDetailBytes || !utf8.ValidString(r.Detail) || strings.ContainsFunc(r.Detail, unicode.IsControl) {
			return fmt.Errorf("%w: a detail must be one line of at most %d bytes", ErrMalformed, maxDetailBytes)
		}
	}

	switch {
	case d.Limits.negative():
		return fmt.Errorf("%w: a limit is negative", ErrMalformed)
	case d.Allow && len(d.Reasons) != 0:
		return fmt.Errorf("%w: allowed, yet with reasons against", ErrMalformed)
	}

	return nil
}

// narrow holds the decision to the floor for in. A host function beyond it is
// an error, since the policy's author meant something else; limits and time are
// cut.
func (d *Decision) narrow(in Input) error {
	if !d.Allow {
		d.HostFunctions = nil
		d.Limits = Limits{}
		return nil
	}

	for _, f := range d.HostFunctions {
		if !slices.Contains(in.Module.Imports, f) {
			return fmt.Errorf("%w: host function %q is not imported", ErrWidened, f)
		}
		if !slices.Contains(in.Grant.HostFunctions, f) {
			return fmt.Errorf("%w: host function %q is not granted", ErrWidened, f)
		}
	}

	d.Limits = d.Limits.min(in.Grant.Limits.or(in.Gateway.Limits))
	if d.ValidUntil.After(in.Grant.NotAfter) {
		d.ValidUntil = in.Grant.NotAfter
	}
	if !in.Now.Before(d.ValidUntil) {
		return fmt.Errorf("%w: allowed until %s, which has passed", ErrWidened, d.ValidUntil.UTC().Format(time.RFC3339))
	}

	return nil
}

func isCode(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.'
	})
}

// exactly returns value as an object that has the given fields and no other.
// Its errors name the field.
func exactly(value any, names ...string) (map[string]any, error) {
	m, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("not an object")
	}

	for _, n := range names {
		if _, ok := m[n]; !ok {
			return nil, fmt.Errorf("field %s is missing", n)
		}
	}

	for _, n := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(names, n) {
			return nil, fmt.Errorf("unknown field %q", n)
		}
	}

	return m, nil
}

// hasNull reports whether null is anywhere in v; encoding/json would take it for
// a zero value.
func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(v, hasNull)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), hasNull)
	}
	return false
}
