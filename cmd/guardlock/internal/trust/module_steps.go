package trust

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// verification is one walk through the chain of trust. Each step may use what
// the steps before it proved.
type verification struct {
	files      moduleFiles
	pkg        signing.Package
	root       *signing.TrustRoot
	policyPath string
	topics     []string
	dataClass  string
	tls        string
	now        time.Time

	digest      [32]byte
	approvalIDs []string
	verified    signing.Verified
	info        transforms.Info
	decision    policy.Decision
}

const (
	verdictYes     = "ok"
	verdictNo      = "refused"
	verdictSkipped = "not checked"
)

// stepResult is one line of the verification.
type stepResult struct {
	Step    string `json:"step"`
	Verdict string `json:"verdict"`
	Detail  string `json:"detail"`
}

func (v *verification) run(ctx context.Context) []stepResult {
	steps := []struct {
		name  string
		check func(context.Context) (string, error)
	}{
		{"digest", v.checkDigest},
		{"author", v.checkAuthor},
		{"approvals", v.checkApprovals},
		{"grant", v.checkPackage},
		{"structure", v.checkStructure},
		{"imports", v.checkImports},
		{"policy", v.checkPolicy},
		{"start", v.checkStart},
	}
	var results []stepResult
	failed := false
	for _, s := range steps {
		r := stepResult{Step: s.name, Verdict: verdictSkipped}
		if !failed {
			detail, err := s.check(ctx)
			r.Verdict, r.Detail = verdictYes, detail
			if err != nil {
				failed = true
				r.Verdict, r.Detail = verdictNo, err.Error()
			}
		}
		results = append(results, r)
	}
	return results
}

func (v *verification) checkDigest(context.Context) (string, error) {
	v.digest = sha256.Sum256(v.pkg.Wasm)
	return fmt.Sprintf("sha256 %x, %d bytes", v.digest, len(v.pkg.Wasm)), nil
}

func (v *verification) checkAuthor(ctx context.Context) (string, error) {
	author, err := v.root.VerifyModuleAt(ctx, v.pkg.Wasm, v.pkg.Signature, v.now)
	return "signed by " + string(author), err
}

// checkApprovals looks at each bundle alone. One that does not count is told,
// and is a "no" only if none is left: whether enough are is the next step's.
func (v *verification) checkApprovals(ctx context.Context) (string, error) {
	if len(v.pkg.Approvals) == 0 {
		return "", signing.ErrUnapproved
	}
	var told []string
	var problems []error
	for i, raw := range v.pkg.Approvals {
		name := filepath.Base(v.files.approvals[i])
		a, err := v.root.VerifyApproval(ctx, v.digest, raw, v.now)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
			told = append(told, fmt.Sprintf("%s does not count: %v", name, err))
			continue
		}
		v.approvalIDs = append(v.approvalIDs, a.ID)
		told = append(told, fmt.Sprintf("by %s until %s", a.Approver, a.NotAfter.Format(time.RFC3339)))
	}
	if len(v.approvalIDs) == 0 {
		return "", errors.Join(problems...)
	}
	return strings.Join(told, "\n"), nil
}

func (v *verification) checkPackage(ctx context.Context) (string, error) {
	var err error
	if v.verified, err = v.root.VerifyPackage(ctx, v.pkg, v.now); err != nil {
		return "", err
	}
	return fmt.Sprintf("approved by %d, the trust root asks for %d; topics %s", len(v.verified.Approvers), v.root.Threshold(),
		strings.Join(v.verified.Grant.Topics, ", ")), nil
}

func (v *verification) checkStructure(context.Context) (string, error) {
	var err error
	v.info, err = transforms.Inspect(v.pkg.Wasm, transforms.ScanLimits{})
	return fmt.Sprintf("abi %s, %d functions, %d reasons", v.info.ABI, v.info.Functions, len(v.info.Reasons)), err
}

func (v *verification) checkImports(context.Context) (string, error) {
	imported := importedFunctions(v.info)
	for _, name := range imported {
		if !slices.Contains(v.verified.Grant.HostFunctions, name) {
			return "", fmt.Errorf("it imports %s, which the approvals do not grant", name)
		}
	}
	return orNone(imported, "imports no host function"), nil
}

func (v *verification) checkPolicy(ctx context.Context) (string, error) {
	engine, err := openEngine(ctx, v.policyPath)
	if err != nil {
		return "", err
	}
	if v.decision, err = engine.Decide(ctx, v.policyInput()); err != nil {
		return "", err
	}
	if !v.decision.Allow {
		return "", fmt.Errorf("the policy says no: %s%s", strings.Join(v.decision.Reasons, ", "), v.missingApprovals(ctx, engine))
	}
	return fmt.Sprintf("allowed until %s, revision %.12s", v.decision.ValidUntil.Format(time.RFC3339), v.decision.PolicyRevision), nil
}

// missingApprovals says what to do if more people must approve. It explains a
// refusal: where it cannot be told, the refusal stands without it.
func (v *verification) missingApprovals(ctx context.Context, engine *policy.Engine) string {
	c, err := countApprovals(ctx, v, engine)
	if err != nil || c.enough() {
		return ""
	}
	return fmt.Sprintf("\n%s; somebody else runs:\n  %s", c, c.next())
}

// policyInput is what a gateway would ask for these topics.
func (v *verification) policyInput() policy.Input {
	g := v.verified.Grant
	topics := v.topics
	if len(topics) == 0 {
		topics = g.Topics
	}
	approvers := make([]string, len(v.verified.Approvers))
	for i, a := range v.verified.Approvers {
		approvers[i] = string(a)
	}
	return policy.Input{
		Module: policy.Module{
			Name: strings.TrimSuffix(filepath.Base(v.files.wasm), ".wasm"), Digest: fmt.Sprintf("%x", v.digest), Size: int64(len(v.pkg.Wasm)),
			Imports: importedFunctions(v.info), Author: string(v.verified.Author), Approvers: approvers, Approvals: v.approvalIDs,
		},
		Grant: policy.Grant{
			Topics: g.Topics, HostFunctions: g.HostFunctions, Keys: g.Keys, Routes: g.Routes, Limits: policy.Limits(g.Limits),
			NotBefore: g.NotBefore, NotAfter: g.NotAfter, Digest: fmt.Sprintf("%x", v.verified.GrantDigest),
			Audience: g.Audience,
		},
		Binding: policy.Binding{Topics: topics, TLS: v.tls, DataClass: v.dataClass},
		Gateway: v.gateway(),
		Now:     v.now,
	}
}

// gateway is who would ask.
func (v *verification) gateway() policy.Gateway {
	g := policy.Gateway{ID: "guardlock-cli", Version: build.Read().Version}
	if v.root == nil {
		return g
	}

	at := v.root.Gateway()
	g.ID = cmp.Or(at.Name, g.ID)
	g.Environment = at.Environment
	g.ClockSkewMS = at.ClockSkew.Milliseconds()
	return g
}

// checkStart runs the module's own start-up in the sandbox, with random bytes
// for every secret: a configuration that it does not take shows here and not
// on the day of the roll-out.
func (v *verification) checkStart(ctx context.Context) (string, error) {
	runtime, err := transforms.New(transforms.Config{Trial: []string{transforms.TrialCommand}})
	if err != nil {
		return "", err
	}
	defer runtime.Close(ctx)
	grant := transforms.Grant{HostFunctions: v.decision.HostFunctions, Routes: v.verified.Grant.Routes}
	for _, name := range v.verified.Grant.Keys {
		secret := make([]byte, 32)
		if _, err := rand.Read(secret); err != nil {
			return "", err
		}
		grant.Keys = append(grant.Keys, transforms.Key{Name: name, Secret: secret})
	}
	if _, err := runtime.Load(ctx, transforms.Spec{Name: "verify", Wasm: v.pkg.Wasm, Config: v.pkg.Config, Grant: grant}); err != nil {
		return "", err
	}
	return "starts with its configuration", nil
}
