package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Input is what a policy decides on: facts that were verified before, never
// claims. No field is omitted when empty.
type Input struct {
	Module  Module    `json:"module"`
	Grant   Grant     `json:"grant"`
	Binding Binding   `json:"binding"`
	Gateway Gateway   `json:"gateway"`
	Now     time.Time `json:"now"` // also what time.now_ns returns
}

// Module is the module as it was verified: facts from its bytes, its signature
// and the approvals that count.
type Module struct {
	Name      string   `json:"name"`
	Digest    string   `json:"digest"` // SHA-256, hex
	Size      int64    `json:"size"`   // bytes
	Imports   []string `json:"imports"`
	Author    string   `json:"author"`
	Approvers []string `json:"approvers"` // distinct people whose approvals count
	Approvals []string `json:"approvals"` // IDs of those approvals, if known
}

// Grant is what the approvers agreed to. A policy can narrow it, and nothing
// else.
type Grant struct {
	Approvals     []Approval `json:"approvals"` // those that count, one of each approver
	Topics        []string   `json:"topics"`    // patterns with '*'
	HostFunctions []string   `json:"host_functions"`
	Keys          []string   `json:"keys"`
	Routes        []string   `json:"routes"`
	Limits        Limits     `json:"limits"`
	NotBefore     time.Time  `json:"not_before"` // of the last approval or key to begin
	NotAfter      time.Time  `json:"not_after"`  // of the first approval or key to end
	Digest        string     `json:"digest"`     // SHA-256 of the canonical grant, hex
	Audience      []string   `json:"audience"`   // gateways that it is for, as "environment:production"; empty: any
}

// Approval is one person's word for a grant, and for how long it counts: as long
// as it and the key that it was signed with hold.
type Approval struct {
	ID        string    `json:"id"` // what a revocation names
	Approver  string    `json:"approver"`
	Ticket    string    `json:"ticket"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// Binding is where the module is to run: the topics and the clients of one rule
// of the configuration.
type Binding struct {
	Topics     []string `json:"topics"`     // patterns with '*'
	Principals []string `json:"principals"` // empty: every principal
	ClientIDs  []string `json:"client_ids"` // empty: every client; a client id is claimed, not proven
	Sources    []string `json:"sources"`    // prefixes in CIDR form; empty: every address
	TLS        string   `json:"tls"`        // what connections must have: "", "required" or "mutual"
	DataClass  string   `json:"data_class"`
	Isolation  string   `json:"isolation"` // of guests: "shared", "topic" or "process"
}

// Gateway describes the gateway that asks, so that one policy can hold for
// several gateways and decide differently.
type Gateway struct {
	ID          string `json:"id"`
	Environment string `json:"environment"` // that it is part of; "" when none is configured
	Version     string `json:"version"`
	Limits      Limits `json:"limits"`        // what holds where the grant says nothing
	ClockSkewMS int64  `json:"clock_skew_ms"` // how far clocks may differ at a beginning
}

// Limits bound what a module may use, in bytes and milliseconds; 0 is no
// opinion.
type Limits struct {
	MemoryBytes int64 `json:"memory_bytes"`
	DeadlineMS  int64 `json:"deadline_ms"`
	OutputBytes int64 `json:"output_bytes"`
	Instances   int64 `json:"instances"`
}

// min is the stricter of two limits, field by field. A field without an opinion
// takes the other's.
func (l Limits) min(o Limits) Limits {
	return Limits{
		MemoryBytes: stricter(l.MemoryBytes, o.MemoryBytes),
		DeadlineMS:  stricter(l.DeadlineMS, o.DeadlineMS),
		OutputBytes: stricter(l.OutputBytes, o.OutputBytes),
		Instances:   stricter(l.Instances, o.Instances),
	}
}

// or fills fields without an opinion from o, and leaves the others as they are.
func (l Limits) or(o Limits) Limits {
	pick := func(a, b int64) int64 {
		if a != 0 {
			return a
		}
		return b
	}
	return Limits{
		MemoryBytes: pick(l.MemoryBytes, o.MemoryBytes),
		DeadlineMS:  pick(l.DeadlineMS, o.DeadlineMS),
		OutputBytes: pick(l.OutputBytes, o.OutputBytes),
		Instances:   pick(l.Instances, o.Instances),
	}
}

func (l Limits) negative() bool {
	return min(l.MemoryBytes, l.DeadlineMS, l.OutputBytes, l.Instances) < 0
}

func stricter(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// MarshalInput encodes in as policies see it. Lists are never null, since a
// rule that counts null is undefined and denies nothing.
func MarshalInput(in Input) ([]byte, error) {
	for _, list := range []*[]string{
		&in.Module.Imports, &in.Module.Approvers, &in.Module.Approvals,
		&in.Grant.Topics, &in.Grant.HostFunctions, &in.Grant.Keys, &in.Grant.Routes, &in.Grant.Audience,
		&in.Binding.Topics, &in.Binding.Principals, &in.Binding.ClientIDs, &in.Binding.Sources,
	} {
		if *list == nil {
			*list = []string{}
		}
	}

	if in.Grant.Approvals == nil {
		in.Grant.Approvals = []Approval{}
	}

	b, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encoding policy input: %w", err)
	}

	return b, nil
}

func parseInput(raw []byte) (ast.Value, error) {
	v, err := ast.ValueFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("reading policy input: %w", err)
	}
	return v, nil
}
