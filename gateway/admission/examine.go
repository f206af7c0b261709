package admission

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// examination is what is true of a package wherever it is to run: all steps that
// need no place.
type examination struct {
	journal
	module   Module
	digest   [32]byte
	config   [32]byte // its digest
	verified signing.Verified
	info     transforms.Info
	refused  *Refused

	// told is what policy is told of the package and of the gateway, and facts its
	// digest: packages with equal facts are judged alike.
	told  policy.Input
	facts [32]byte

	// From and until enclose the time for which the same would be found again.
	// Zero is open.
	from, until time.Time
}

// examine takes a package through the steps that need no place. It stops at the
// first that refuses.
func (a *Admitter) examine(ctx context.Context, m Module) *examination {
	e := &examination{module: m, digest: sha256.Sum256(m.Package.Wasm), config: sha256.Sum256(m.Package.Config)}
	for _, step := range []struct {
		name string
		do   func(context.Context, *examination) (string, *Refused)
	}{
		{StepDigest, a.checkFiles},
		{StepAuthor, a.checkAuthor},
		{StepApprovals, a.checkApprovals},
		{StepStructure, a.checkStructure},
		{StepImports, a.checkImports},
	} {
		detail, refused := step.do(ctx, e)
		if refused != nil {
			e.journal.refused(step.name, refused)
			e.refused = refused
			e.facts = sha256.Sum256([]byte(fmt.Sprintf("%x %s %v", e.digest, refused.Code, refused.Err)))
			return e
		}

		e.passed(step.name, detail)
	}

	e.told = a.facts(e)
	raw, err := policy.MarshalInput(e.told)
	if err != nil {
		panic("admission: encoding strings and integers failed: " + err.Error())
	}

	e.facts = sha256.Sum256(raw)
	return e
}

// Holds asks what can end at any moment: whether author and approvers vouch for a
// package now, under this trust root. Policy and sandbox are not asked, and nothing
// is recorded; nil is yes.
func (a *Admitter) Holds(ctx context.Context, m Module) *Refused {
	if m.Missing != nil {
		return refuse(m, audit.OutcomeNoModule, "package_unreadable", m.Missing)
	}
	if _, err := a.Trust.VerifyPackage(ctx, m.Package, a.Now()); err != nil {
		return refuse(m, audit.OutcomeNoModule, SignatureCode(err), err)
	}

	return nil
}

func refuse(m Module, o audit.Outcome, code string, err error) *Refused {
	return &Refused{Module: m.Name, Outcome: o, Code: code, Err: err}
}

func (a *Admitter) checkFiles(_ context.Context, e *examination) (string, *Refused) {
	if e.module.Missing != nil {
		return "", refuse(e.module, audit.OutcomeNoModule, "package_unreadable", e.module.Missing)
	}
	if err := e.module.Package.Check(); err != nil {
		return "", refuse(e.module, audit.OutcomeNoModule, SignatureCode(err), err)
	}

	return fmt.Sprintf("sha256 %x, %d bytes", e.digest, len(e.module.Package.Wasm)), nil
}

func (a *Admitter) checkAuthor(ctx context.Context, e *examination) (string, *Refused) {
	author, err := a.Trust.VerifyModuleAt(ctx, e.module.Package.Wasm, e.module.Package.Signature, a.Now())
	if err != nil {
		// Only from when and until when is asked here: whether it verifies was
		// found before.
		v, _ := a.Trust.VerifyPackage(ctx, e.module.Package, a.Now())
		e.from = v.From
		e.until = v.Until
		return "", refuse(e.module, audit.OutcomeNoModule, SignatureCode(err), err)
	}

	return "signed by " + string(author), nil
}

// checkApprovals counts the approvals, and lists who approved and which do not
// count, for whoever reads the step.
func (a *Admitter) checkApprovals(ctx context.Context, e *examination) (string, *Refused) {
	v, err := a.Trust.VerifyPackage(ctx, e.module.Package, a.Now())
	e.verified = v
	e.from = v.From
	e.until = v.Until

	if err != nil {
		return "", refuse(e.module, audit.OutcomeNoModule, SignatureCode(err), err)
	}

	lines := []string{fmt.Sprintf("approved by %d, the trust root asks for %d; topics %s",
		len(v.Approvers), a.Trust.Threshold(), strings.Join(v.Grant.Topics, ", "))}
	for _, c := range v.Counted {
		lines = append(lines, fmt.Sprintf("by %s until %s", c.Approver, c.Until.UTC().Format(time.RFC3339)))
	}

	for _, ignored := range v.Ignored {
		lines = append(lines, fmt.Sprintf("does not count: %v", ignored))
	}

	return strings.Join(lines, "\n"), nil
}

// signatureCodes maps what signing refuses to codes of the closed catalogue.
// The most specific comes first, since one error may wrap several.
var signatureCodes = []struct {
	err  error
	code string
}{
	{signing.ErrRevoked, "revoked"},
	{signing.ErrUnsigned, "unsigned"},
	{signing.ErrDigestMismatch, "digest_mismatch"},
	{signing.ErrConfigChanged, "config_changed"},
	{signing.ErrAudience, "audience_other"},
	{signing.ErrExpired, "expired"},
	{signing.ErrKeyExpired, "key_expired"},
	{signing.ErrNotYetValid, "not_yet_valid"},
	{signing.ErrAuthorApproved, "author_approved"},
	{signing.ErrWrongKey, "untrusted_key"},
	{signing.ErrTooLarge, "too_large"},
	{signing.ErrThreshold, "approvals_missing"},
	{signing.ErrUnapproved, "approvals_missing"},
}

// SignatureCode is the code of what signing refuses a package for, as admission
// gives it and as the log has it.
func SignatureCode(err error) string {
	for _, c := range signatureCodes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "signature_invalid"
}

// StructureCode is the code of a file that is no module, or a hostile one.
// Which of them it is cannot be told apart.
const StructureCode = "hostile_or_malformed"

func (a *Admitter) checkStructure(_ context.Context, e *examination) (string, *Refused) {
	info, err := transforms.Inspect(e.module.Package.Wasm, transforms.ScanLimits{})
	if err != nil {
		return "", refuse(e.module, audit.OutcomeNoModule, StructureCode, err)
	}

	e.info = info
	return fmt.Sprintf("abi %s, %d functions, %d reasons", info.ABI, info.Functions, len(info.Reasons)), nil
}

func (a *Admitter) checkImports(_ context.Context, e *examination) (string, *Refused) {
	imported := HostFunctions(e.info)
	for _, name := range imported {
		if !transforms.KnownHostFunction(name) {
			return "", refuse(e.module, audit.OutcomeNoModule, "import_unknown", fmt.Errorf("it imports %s, which is no host function%s", name, transforms.ImportAdvice(name)))
		}
		if !slices.Contains(e.verified.Grant.HostFunctions, name) {
			return "", refuse(e.module, audit.OutcomeNoModule, "import_not_approved", fmt.Errorf("it imports %s, which its approvals do not grant", name))
		}
	}

	return listed(Grouped(imported), "imports no host function"), nil
}

// HostFunctions are what a module cannot run without. env.abort, which compilers of
// AssemblyScript add, ends the guest and is no means to do anything.
func HostFunctions(info transforms.Info) []string {
	var names []string
	for _, i := range info.Imports {
		if n := i.String(); n != "env.abort" && !slices.Contains(names, n) { // some linkers import one twice
			names = append(names, n)
		}
	}

	return names
}

// Grouped shortens a list of host functions for people: those of one module that
// stand behind each other, where there are more than three, share its name.
func Grouped(names []string) (groups []string) {
	const few = 3
	for n := 0; n < len(names); {
		module, _, _ := strings.Cut(names[n], ".")
		end := n
		var functions []string
		for end < len(names) && strings.HasPrefix(names[end], module+".") {
			functions = append(functions, strings.TrimPrefix(names[end], module+"."))
			end++
		}

		switch {
		case len(functions) > few:
			groups = append(groups, module+".{"+strings.Join(functions, " ")+"}")
		case len(functions) == 0: // a name without a point
			groups = append(groups, names[n])
			end++
		default:
			groups = append(groups, names[n:end]...)
		}
		n = end
	}

	return groups
}

// facts are the package and the gateway as policy sees them, without the place,
// which differs from binding to binding.
func (a *Admitter) facts(e *examination) policy.Input {
	v := e.verified
	in := policy.Input{
		Module: policy.Module{
			Name:    e.module.Name,
			Digest:  hex.EncodeToString(v.Digest[:]),
			Size:    int64(len(e.module.Package.Wasm)),
			Imports: HostFunctions(e.info),
			Author:  string(v.Author),
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
		Gateway: policy.Gateway{
			ID:          a.Node,
			Version:     a.Version,
			Limits:      a.Limits,
			Environment: a.Trust.Gateway().Environment,
			ClockSkewMS: a.Trust.Gateway().ClockSkew.Milliseconds(),
		},
	}

	for _, c := range v.Counted {
		in.Module.Approvers = append(in.Module.Approvers, string(c.Approver))
		in.Module.Approvals = append(in.Module.Approvals, c.ID)
		in.Grant.Approvals = append(in.Grant.Approvals, policy.Approval{
			ID:        c.ID,
			Approver:  string(c.Approver),
			Ticket:    c.Ticket,
			NotBefore: c.From,
			NotAfter:  c.Until,
		})
	}

	return in
}
