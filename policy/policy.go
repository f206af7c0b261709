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
//	details         optional: for codes in reasons, what was found and what is allowed
//
// A policy may also have data.guardlock.admin.decision, for requests of clients that
// change topics or settings: see AdminInput. Without it the built-in one decides.
//
// The input is Input, in which every field is always present, so absent facts are
// empty and never undefined. Anything else than such an object is an error, and
// an error means no.
//
// Policies are written by operators, who are trusted to decide but not to be
// free of mistakes: built-ins that reach the network, the environment or chance
// are not there, errors in built-ins are errors of the decision, and what comes
// out is held to a floor that Rego cannot lower: host functions within imports and
// grant, limits and validity within the grant. What is not the built-in policy is
// compiled, evaluated and tested in a child process, with bounded memory and
// processor time (worker.go): a mistake cannot end or stall a gateway.
//
// Decisions are for admission and binding, never for records. An Engine is
// immutable and safe for concurrent use; to reload, make another.
package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// DefaultTimeout bounds one evaluation, in processor time. Evaluations take
// well under a millisecond.
const DefaultTimeout = time.Second

var (
	// ErrUnsigned is returned for a bundle without a signature, or a directory,
	// where keys are configured.
	ErrUnsigned = errors.New("the policy is not signed, but keys to verify it with are configured: build a signed bundle with `opa build --signing-key`")
	// ErrSignature is returned for a bundle that none of the keys verifies. It
	// is wrapped with what each key said.
	ErrSignature = errors.New("the policy bundle's signature does not verify: build and sign it again, or correct the key")
	// ErrRevision is returned for a signed bundle whose revision cannot be told
	// from an older one.
	ErrRevision = errors.New("a signed bundle must have a whole number as its revision: build it with `opa build --revision 1`, and a larger one each time")
	// ErrNoPolicy is returned where nothing of a policy was found, which is
	// never taken for an empty one.
	ErrNoPolicy = errors.New("no policy files: a policy is a directory with .rego files, or an OPA bundle")
	// ErrUndefined is returned by decisions: no rule of the policy held, which
	// allows nothing.
	ErrUndefined = errors.New("the policy made no decision: data.guardlock.module.decision is undefined for this input")
	// ErrMalformed is returned by decisions that are no object of exactly the
	// fields that the package describes.
	ErrMalformed = errors.New("the policy's decision is not of the required form")
	// ErrWidened is returned by decisions beyond the floor. Nothing is allowed
	// then, not even what was approved.
	ErrWidened = errors.New("the policy allows more than was requested and approved: a policy can only narrow a grant")
	// ErrTimeout, ErrMemory and ErrFailed are returned by decisions that a
	// policy did not come to within its bounds. That is the policy's own fault:
	// asking again is of no use.
	ErrTimeout = errors.New("the policy took too long to decide")
	ErrMemory  = errors.New("the policy took more memory than an evaluation may have")
	ErrFailed  = errors.New("the policy ended the process that evaluated it")

	// ErrUnavailable is no word of the policy: it could not be asked, and may answer
	// when it is asked again.
	ErrUnavailable = errors.New("the policy could not be asked")
)

// Key is a public key that may verify the signature of an OPA bundle, and what
// the signature must say.
type Key struct {
	ID        string // a name for it; required
	PEM       string // public key
	Algorithm string // default ES256
	Scope     string // required scope of the signature; stops another team's bundle
}

// Options say how to load a policy. The zero value is usable: any policy,
// evaluated in this process.
type Options struct {
	Keys    []Key         // when set, only bundles that one of them verifies are accepted
	Config  []byte        // YAML or JSON; takes the place of data.config
	Timeout time.Duration // of one evaluation, in processor time; default DefaultTimeout

	// Worker are the arguments with which this program calls RunWorker. Policies but
	// the built-in one are then compiled and evaluated in a child, whose memory and
	// time are bounded. Without it a policy can end the process.
	Worker []string
}

// Engine evaluates one policy, which never changes. It is safe for concurrent
// use and needs no closing.
type Engine struct {
	evaluator
	admin    evaluator       // of administrative requests
	rules    map[string]Rule // described rules, by the reason that they give
	text     []byte
	revision string
	signed

	defaultClass string
	topicsAlike  bool
}

// evaluator is where a policy is evaluated. An error says that there is no answer.
// It is safe for concurrent use.
type evaluator interface {
	evaluate(ctx context.Context, q question) (answer, error)
}

// Load reads a policy from fsys with the default options: see LoadWith.
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

// LoadBundle reads an OPA bundle, a gzipped tar archive, whose signature is
// verified if the options have keys. Its errors are those of LoadWith.
func LoadBundle(ctx context.Context, tarball []byte, o Options) (*Engine, error) {
	src, err := readBundle(tarball, o)
	if err != nil {
		return nil, fmt.Errorf("loading policy: %w", err)
	}
	return newEngine(ctx, src, o)
}

// newEngine compiles a policy and learns what it says of itself. Administrative
// requests go to the built-in one if it says nothing of them.
func newEngine(ctx context.Context, src *source, o Options) (*Engine, error) {
	e := &Engine{text: src.text, revision: src.revision, signed: src.signed, rules: map[string]Rule{}}
	timeout := o.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}

	known, err := e.compile(ctx, src, o.Worker, timeout)
	if err != nil {
		return nil, fmt.Errorf("loading policy: %w", err)
	}

	e.defaultClass = known.DefaultClass
	e.admin = e.evaluator
	if !known.Admin {
		if e.admin, err = builtInAdmin(ctx, timeout, &known); err != nil {
			return nil, fmt.Errorf("loading the built-in policy: %w", err)
		}
	}

	for _, r := range known.Rules {
		if r.Topics == "alike" && strings.HasSuffix("data."+r.Name, moduleEntry) {
			e.topicsAlike = !known.Classified
		}
		if r.Reason != "" {
			e.rules[r.Reason] = r
		}
	}

	return e, nil
}

// compile chooses where the policy is evaluated, and compiles it there: the
// built-in one in this process, any other in a child if there is a command for
// one.
func (e *Engine) compile(ctx context.Context, src *source, command []string, timeout time.Duration) (described, error) {
	builtIn := src.builtIn()
	if !builtIn && len(command) != 0 {
		w := newWorker(command, src, timeout)
		e.evaluator = w
		return w.compile(ctx)
	}

	p, err := newProgram(ctx, src)
	if err != nil {
		return described{}, err
	}

	if builtIn {
		timeout *= waiting
	}
	e.evaluator = local{program: p, timeout: timeout, builtIn: builtIn}
	return p.described(), nil
}

// builtInAdmin is the built-in policy, for administrative requests of which the
// policy in force says nothing. Its described rules are added to those that are
// known.
func builtInAdmin(ctx context.Context, timeout time.Duration, known *described) (evaluator, error) {
	src, err := readSource(Default(), Options{})
	if err != nil {
		return nil, err
	}

	p, err := newProgram(ctx, src)
	if err != nil {
		return nil, err
	}

	known.Rules = append(p.described().Rules, known.Rules...) // the policy's own count
	return local{program: p, timeout: timeout * waiting, builtIn: true}, nil
}

// Revision identifies the policy: the SHA-256, in hex, of its files' names and
// contents, tests and configuration included.
func (e *Engine) Revision() string { return e.revision }

// Source is what the revision is the digest of: for each file, in the order of names,
// the name and the content, each behind its length in 8 bytes, big endian. It must not
// be changed.
func (e *Engine) Source() []byte { return e.text }

// Bundle is the bundle whose signature was verified, as it was read; nil of every other
// policy. It must not be changed.
func (e *Engine) Bundle() []byte { return e.tarball }

// BundleRevision is the revision of a bundle whose signature was verified, 1 or
// more; 0 of every other policy. Who puts a policy into force must not go back to
// a smaller one.
func (e *Engine) BundleRevision() int64 { return e.bundle }

// TopicsAlike reports whether the policy says of itself that all topics which a grant
// covers are alike to it, so that it need not be asked for each: its decision has
// custom.topics: alike, and data.config.topics gives none of them a class.
func (e *Engine) TopicsAlike() bool { return e.topicsAlike }

// DefaultClass is the class of data that the policy takes where none is named:
// data.config.default_class, "" if there is no such thing.
func (e *Engine) DefaultClass() string { return e.defaultClass }

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

// decide evaluates the policy once. The time is required, since a policy
// without it could not tell what has ended.
func (e *Engine) decide(ctx context.Context, in Input) (Decision, error) {
	if in.Now.IsZero() {
		return Decision{}, errors.New("reading policy input: the time is missing")
	}

	input, err := MarshalInput(in)
	if err != nil {
		return Decision{}, err
	}

	a, err := e.evaluate(ctx, question{Input: input, Now: in.Now})
	if err != nil {
		return Decision{}, err
	}

	d, err := e.parse(a, parseDecision)
	if err != nil {
		return Decision{}, err
	}

	return d, d.narrow(in)
}

// parse reads the decision in an answer with the reader of its kind, and adds what
// is known of its reasons.
func (e *Engine) parse(a answer, read func(json.RawMessage) (Decision, error)) (Decision, error) {
	if a.Result == nil {
		return Decision{}, ErrUndefined
	}

	d, err := read(a.Result)
	if err != nil {
		return Decision{}, err
	}

	d.PolicyRevision = e.revision
	d.explain(e.rules)
	return d, nil
}
