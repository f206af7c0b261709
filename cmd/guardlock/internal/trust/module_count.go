package trust

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// count looks at what lies beside the module now, and at the approval in c.out,
// and counts who has approved.
func (c *moduleApproveCommand) count(cmd *cobra.Command, files moduleFiles, approval signing.Approval) (*approvalCount, error) {
	v, err := c.beside(files, approval.Audience)
	if err != nil {
		return nil, err
	}
	if v.engine, err = openEngine(cmd.Context(), c.policy); err != nil {
		return nil, err
	}

	return countApprovals(cmd.Context(), v, approval)
}

// beside is the module with all approvals that lie there. No binding is known yet:
// the strictest one stands for it.
func (c *moduleApproveCommand) beside(files moduleFiles, audience []string) (*verification, error) {
	v := &verification{files: files}
	beside, err := findModule(files.wasm)
	if err != nil {
		return nil, err
	}

	v.files.approvals = beside.approvals
	if c.out != "" && exists(c.out) && !slices.Contains(beside.approvals, c.out) {
		v.files.approvals = append(v.files.approvals, c.out)
	}

	if v.pkg, err = v.files.read(); err != nil {
		return nil, err
	}
	if c.trustRoot != "" {
		root, err := loadTrustRoot(c.trustRoot)
		if err != nil {
			return nil, err
		}
		v.root = root.For(addressee(audience))
	}

	v.name = moduleName(files)
	v.node = cmp.Or(addressee(audience).Name, anyNode)
	v.now = time.Now()
	v.place = admission.Place{Binding: "approve", TLS: gateway.MutualTLS, DataClass: c.dataClass}

	return v, nil
}

// approvalCount is how many people approved a grant, and how many must. Without
// a trust root nobody knows whose approvals lie beside the module: then files that
// grant the same are counted, and that is said.
type approvalCount struct {
	*verification
	grant  signing.Approval
	author string
	people []string // who approved
	have   int
	needed int
	by     string // who asks for that many
	still  string // what the policy has against it all the same
}

// countApprovals counts, for one grant, who has approved it and how many must.
func countApprovals(ctx context.Context, v *verification, grant signing.Approval) (*approvalCount, error) {
	c := &approvalCount{verification: v, grant: grant, author: "author"}
	if err := c.findPeople(ctx); err != nil {
		return nil, err
	}
	if err := c.askHowMany(ctx); err != nil {
		return nil, err
	}

	c.by = "the policy asks for on " + cmp.Or(c.place.DataClass, c.engine.DefaultClass()) + " data"
	if v.root != nil && v.root.Threshold() > c.needed {
		c.needed = v.root.Threshold()
		c.by = "the trust root asks for"
	}

	return c, nil
}

// findPeople finds those whose approvals of this grant count now, as a gateway
// would count them.
func (c *approvalCount) findPeople(ctx context.Context) error {
	if c.root == nil {
		for _, raw := range c.pkg.Approvals {
			claimed, err := signing.ReadUnverified(raw)
			if err == nil && claimed.GrantDigest() == c.grant.GrantDigest() {
				c.have++
			}
		}
		return nil
	}

	author, err := c.root.VerifyModuleAt(ctx, c.pkg.Wasm, c.pkg.Signature, c.now)
	if err != nil {
		return fmt.Errorf("counting the approvals: %w", err)
	}

	for _, raw := range c.pkg.Approvals {
		a, err := c.root.VerifyApproval(ctx, c.grant.ModuleDigest, raw, c.now)
		if err == nil && a.Approver != author && a.GrantDigest() == c.grant.GrantDigest() && !slices.Contains(c.people, string(a.Approver)) {
			c.people = append(c.people, string(a.Approver))
		}
	}

	c.author = string(author)
	c.have = len(c.people)
	return nil
}

// manyApprovers is more people than any policy asks for, so that a search for
// the number ends.
const manyApprovers = 16

// askHowMany asks admission what it would say if more people had approved. It may
// refuse for other reasons too: needed is where more people change nothing.
func (c *approvalCount) askHowMany(ctx context.Context) error {
	others := c.others()
	reasonsOf := func(n int) (string, error) {
		v, err := c.rehearse(ctx, others[:n])
		if err != nil {
			return "", fmt.Errorf("asking the policy how many must approve: %w", err)
		}

		return strings.Join(v.Decision.Reasons, ", "), nil
	}

	var err error
	if c.still, err = reasonsOf(manyApprovers); err != nil {
		return err
	}

	for c.needed = 1; c.needed < manyApprovers; c.needed++ {
		text, err := reasonsOf(c.needed)
		if err != nil || text == c.still {
			return err
		}
	}

	return nil
}

// rehearse is what admission would say if these people had approved the grant.
// Nothing is signed for it.
func (c *approvalCount) rehearse(ctx context.Context, approvers []string) (admission.Verdict, error) {
	t := c.trying
	var err error
	if t.pkg, t.root, err = rehearsal(ctx, c.pkg, c.grant, c.author, approvers); err != nil {
		return admission.Verdict{}, err
	}

	t.root = t.root.For(addressee(c.grant.Audience))
	t.now = c.startOf(c.grant)

	return t.examine(ctx)
}

// preview is what admission says once enough people approved, with the approval that
// was just signed. One that does not count with this trust root is refused as it is.
func (c *approvalCount) preview(ctx context.Context, signed []byte) (admission.Verdict, error) {
	if c.root != nil {
		a, err := c.root.VerifyApproval(ctx, c.grant.ModuleDigest, signed, c.startOf(c.grant))
		if err != nil || string(a.Approver) == c.author {
			t := c.trying
			t.pkg.Approvals = [][]byte{signed}
			t.pkg.Names = nil
			t.now = c.startOf(c.grant)
			return t.examine(ctx)
		}

		if !slices.Contains(c.people, string(a.Approver)) {
			c.people = append(c.people, string(a.Approver))
		}
	}

	v, err := c.rehearse(ctx, c.others()[:min(max(c.needed, len(c.people), 1), manyApprovers)])
	if err != nil {
		return v, fmt.Errorf("asking what a gateway would say: %w", err)
	}

	return v, nil
}

// startOf is now, or when the grant begins if that is later.
func (c *approvalCount) startOf(g signing.Approval) time.Time {
	if c.now.Before(g.NotBefore) {
		return g.NotBefore
	}
	return c.now
}

// others are people who could approve: those of the trust root first, then
// made-up ones.
func (c *approvalCount) others() []string {
	people := slices.Clone(c.people)
	if c.root != nil {
		for _, p := range c.root.Approvers() {
			if string(p) != c.author && !slices.Contains(people, string(p)) {
				people = append(people, string(p))
			}
		}
	}

	for n := len(people); n < manyApprovers; n++ {
		people = append(people, fmt.Sprintf("approver-%d", n))
	}

	return people
}

// String says how far the approvals are, in words for a person.
func (c *approvalCount) String() string {
	s := fmt.Sprintf("approvals: %d of %d that %s", c.have, c.needed, c.by)
	if c.root == nil {
		s += " (files that grant the same: --trust-root tells whose they are)"
	}
	if c.still != "" {
		s += "; however many approve, the policy refuses it there: " + c.still
	}

	return s
}

// enough tells whether nobody else needs to approve for a gateway to run the
// module.
func (c *approvalCount) enough() bool { return c.have >= c.needed }

// next is the command that the next approver can run as it stands.
func (c *approvalCount) next() string {
	info, _ := transforms.Inspect(c.pkg.Wasm, transforms.ScanLimits{}) // inspected before
	return approveCommand(c.files, c.grant, importedFunctions(info))
}

// approved is what was written, and what is still missing, in JSON.
type approved struct {
	Module    string `json:"module"`
	Approval  string `json:"approval"`
	ID        string `json:"approval_id"` // what revoked.approvals of a trust root names
	KeyID     string `json:"key_id"`
	NotAfter  string `json:"not_after"`
	Approvals int    `json:"approvals"`
	Needed    int    `json:"approvals_needed"`
	Next      string `json:"next,omitempty"`

	// Gateway is what a gateway would say once enough people have approved.
	Gateway struct {
		Verdict string `json:"verdict"`
		Code    string `json:"code,omitempty"`
	} `json:"gateway"`
}

// note notes what a gateway would say, for the JSON form.
func (a *approved) note(v admission.Verdict) {
	a.Gateway.Verdict = admission.Passed
	if v.Refused != nil {
		a.Gateway.Verdict = admission.Failed
		a.Gateway.Code = v.Refused.Code
	}
}

func (a approved) write(cmd *cobra.Command, c *approvalCount) error {
	a.Approvals = c.have
	a.Needed = c.needed
	if !c.enough() {
		a.Next = c.next()
	}

	w := cmd.OutOrStdout()
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(w, a)
	}

	_, err := fmt.Fprintf(w, "approved with key %s until %s\nwrote %s\nto take it back, revoke approval %s\n%s\n",
		a.KeyID, a.NotAfter, a.Approval, a.ID, c)
	if a.Next != "" {
		_, err = fmt.Fprintf(w, "not enough yet: somebody else runs\n  %s\n", a.Next)
	}

	return err
}

// approveCommand is what another person runs to approve the same grant, with
// every flag that it needs.
func approveCommand(files moduleFiles, g signing.Approval, imported []string) string {
	words := []string{"guardlock module approve", cli.ShellWord(modulePath(files)), "--key YOUR.key"}
	add := func(flag string, values ...string) {
		for _, v := range values {
			words = append(words, "--"+flag, cli.ShellWord(v))
		}
	}

	if usual, err := findModule(files.wasm); err == nil && usual.config != files.config {
		add("config", files.config)
	}
	add("topic", g.Topics...)
	if !sameSet(g.HostFunctions, imported) {
		add("host-function", strings.Join(g.HostFunctions, ","))
	}

	add("secret", g.Keys...)
	add("route", g.Routes...)
	add("audience", g.Audience...)

	for _, l := range []struct {
		flag string
		n    int64
		text string
	}{
		{"memory", g.Limits.MemoryBytes, sizeText(g.Limits.MemoryBytes)},
		{"output", g.Limits.OutputBytes, sizeText(g.Limits.OutputBytes)},
		{"deadline", g.Limits.DeadlineMS, fmt.Sprintf("%dms", g.Limits.DeadlineMS)},
		{"instances", g.Limits.Instances, fmt.Sprint(g.Limits.Instances)},
	} {
		if l.n > 0 {
			add(l.flag, l.text)
		}
	}

	add("not-after", g.NotAfter.UTC().Format(time.RFC3339))
	return strings.Join(words, " ")
}

// sizeText is a size that parseBytes reads as n again, as short as it stays
// exact.
func sizeText(n int64) string {
	short := strings.ReplaceAll(humanize.IBytes(uint64(n)), " ", "")
	if again, err := humanize.ParseBytes(short); err == nil && int64(again) == n {
		return short
	}
	return fmt.Sprintf("%dB", n)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// modulePath is how a command names the module: by its directory if it has one
// to itself, by its file otherwise.
func modulePath(files moduleFiles) string {
	dir := filepath.Dir(files.wasm)
	if wasm, err := findWasm(dir); err == nil && wasm == files.wasm {
		return dir
	}
	return files.wasm
}
