// Package policy decides, with OPA, whether a verified module may run on some
// topics, and which host functions it may call there.
//
// A policy is a directory of Rego v1 files with data.json or data.yaml files
// beside them, or the same as an OPA bundle (.tar.gz), which must be signed when
// keys to check it with are given. Its entry point is data.guardlock.module.decision,
// an object of exactly these fields:
//
//	allow           boolean
//	reasons         codes such as "approvers_too_few"; why not, when not allowed
//	host_functions  names; of those that are imported and granted, these may be called
//	limits          memory_bytes, deadline_ms, output_bytes, instances; 0 = no opinion
//	valid_until     RFC 3339; when the decision must be made again
//
// The input is Input, in which every field is always present, so absent facts are
// empty and never undefined. Anything else than such an object is an error, and
// an error means no.
//
// Policies are written by operators, who are trusted to decide but not to be
// free of mistakes: built-ins that reach the network, the environment or chance
// are not there, errors in built-ins are errors of the decision, evaluation is
// bounded in time, and what comes out is held to a floor that Rego cannot lower:
// host functions within imports and grant, limits and validity within the grant.
//
// Decisions are for admission and binding, never for records. An Engine is
// immutable and safe for concurrent use; to reload, make another.
package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// DefaultTimeout bounds one evaluation. Evaluations take well under a millisecond.
const DefaultTimeout = time.Second

var (
	ErrUnsigned  = errors.New("the policy is not signed, but keys to verify it with are configured: build a signed bundle with `opa build --signing-key`")
	ErrSignature = errors.New("the policy bundle's signature does not verify: build and sign it again, or correct the key")
	ErrNoPolicy  = errors.New("no policy files: a policy is a directory with .rego files, or an OPA bundle")
	ErrUndefined = errors.New("the policy made no decision: data.guardlock.module.decision is undefined for this input")
	ErrMalformed = errors.New("the policy's decision is not of the required form")
	ErrWidened   = errors.New("the policy allows more than was requested and approved: a policy can only narrow a grant")
	ErrTimeout   = errors.New("the policy took too long to decide")
)

// Key verifies OPA bundle signatures.
type Key struct {
	ID        string // a name for it; required
	PEM       string // public key
	Algorithm string // default ES256
	Scope     string // required scope of the signature; stops another team's bundle
}

// Options say how to load a policy. The zero value is usable.
type Options struct {
	Keys    []Key         // when set, only bundles that one of them verifies are accepted
	Config  []byte        // YAML or JSON; takes the place of data.config
	Timeout time.Duration // of one evaluation; default DefaultTimeout
}

// Engine evaluates one policy.
type Engine struct {
	query    rego.PreparedEvalQuery
	rules    map[string]Rule // rules with annotations, by location
	revision string
	timeout  time.Duration
}

// Load reads a policy with default options.
func Load(ctx context.Context, fsys fs.FS) (*Engine, error) {
	return LoadWith(ctx, fsys, Options{})
}

// LoadWith reads a policy from fsys: .rego and data files in any directory, or
// one OPA bundle (.tar.gz) alone at the top. Files named *_test.rego take no
// part in decisions. Every problem found in the policy is reported, as a problem.List.
func LoadWith(ctx context.Context, fsys fs.FS, o Options) (*Engine, error) {
	src, err := readSource(fsys, o)
	if err != nil {
		return nil, fmt.Errorf("loading policy: %w", err)
	}
	return newEngine(ctx, src, o)
}

// LoadBundle reads an OPA bundle, a gzipped tar archive.
func LoadBundle(ctx context.Context, tarball []byte, o Options) (*Engine, error) {
	src, err := readBundle(tarball, o)
	if err != nil {
		return nil, fmt.Errorf("loading policy: %w", err)
	}
	return newEngine(ctx, src, o)
}

func newEngine(ctx context.Context, src *source, o Options) (*Engine, error) {
	compiler, problems := src.compile(withoutTests)
	if len(problems) != 0 {
		return nil, fmt.Errorf("loading policy: %w", problems)
	}

	q, err := rego.New(
		rego.ParsedQuery(ast.MustParseBody("data.guardlock.module.decision")),
		rego.Compiler(compiler),
		rego.Store(inmem.NewFromObject(src.data)),
		rego.Capabilities(capabilities()),
		rego.StrictBuiltinErrors(true),
		rego.Strict(true),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading policy: preparing query: %w", err)
	}

	e := &Engine{
		query:    q,
		rules:    annotated(compiler),
		revision: src.revision,
		timeout:  o.Timeout,
	}
	if e.timeout <= 0 {
		e.timeout = DefaultTimeout
	}

	return e, nil
}

// Revision identifies the policy: the SHA-256, in hex, of its files' names and
// contents, tests and configuration included.
func (e *Engine) Revision() string { return e.revision }

// Decide evaluates the policy and holds the result to the floor. An error means
// that nothing is allowed, whatever its cause. A Decision that does not allow
// grants no host function.
func (e *Engine) Decide(ctx context.Context, in Input) (Decision, error) {
	d, err := e.decide(ctx, in)
	if err != nil {
		return Decision{}, fmt.Errorf("deciding by policy %.12s: %w", e.revision, err)
	}
	return d, nil
}

func (e *Engine) decide(ctx context.Context, in Input) (Decision, error) {
	value, err := in.value()
	if err != nil {
		return Decision{}, err
	}

	raw, err := e.evaluate(ctx, value, rego.EvalTime(in.Now))
	if err != nil {
		return Decision{}, err
	}

	d, err := parseDecision(raw)
	if err != nil {
		return Decision{}, err
	}

	d.PolicyRevision = e.revision
	return d, d.narrow(in)
}

// evaluate returns the decision document as JSON values, or why there is none.
func (e *Engine) evaluate(ctx context.Context, input ast.Value, more ...rego.EvalOption) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	rs, err := e.query.Eval(ctx, append(more, rego.EvalParsedInput(input))...)

	switch {
	case ctx.Err() != nil: // also of an answer: OPA looks at the context only now and then
		return nil, fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
	case err != nil:
		return nil, fmt.Errorf("evaluating: %w", err)
	case len(rs) != 1 || len(rs[0].Expressions) != 1:
		return nil, ErrUndefined
	}

	return rs[0].Expressions[0].Value, nil
}
