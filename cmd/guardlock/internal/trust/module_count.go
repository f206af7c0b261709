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
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// count looks at what lies beside the module now, and at c.out.
func (c *moduleApproveCommand) count(cmd *cobra.Command, files moduleFiles, approval signing.Approval, info transforms.Info) (*approvalCount, error) {
	// No binding is known yet: the strictest one stands for it.
	v := &verification{dataClass: c.dataClass, tls: "mutual", now: time.Now(), digest: approval.ModuleDigest, info: info}
	v.verified.Grant, v.verified.GrantDigest, v.verified.Digest = approval, approval.GrantDigest(), approval.ModuleDigest
	beside, err := findModule(files.wasm)
	if err != nil {
		return nil, err
	}
	v.files = files
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
		v.root = root.For(addressee(approval.Audience))
	}
	engine, err := openEngine(cmd.Context(), c.policy)
	if err != nil {
		return nil, err
	}
	return countApprovals(cmd.Context(), v, engine)
}

// approvalCount is how many people approved a grant, and how many must. Without
// a trust root nobody knows whose approvals lie beside the module: then files
// are counted, and that is said.
type approvalCount struct {
	*verification
	engine *policy.Engine
	have   int
	needed int
	by     string // who asks for that many
	still  string // what the policy has against it all the same
}

// countApprovals counts for the grant in v, whose module's structure is known.
func countApprovals(ctx context.Context, v *verification, engine *policy.Engine) (*approvalCount, error) {
	c := &approvalCount{verification: v, engine: engine, have: len(v.pkg.Approvals)}
	if v.root != nil {
		if err := c.findPeople(ctx); err != nil {
			return nil, err
		}
	}
	var err error
	if c.needed, err = c.policyNeeds(ctx); err != nil {
		return nil, err
	}
	c.by = "the policy asks for on " + cmp.Or(c.dataClass, engine.DefaultClass()) + " data"
	if v.root != nil && v.root.Threshold() > c.needed {
		c.needed, c.by = v.root.Threshold(), "the trust root asks for"
	}
	return c, nil
}

// findPeople finds those whose approvals of this grant count now.
func (c *approvalCount) findPeople(ctx context.Context) error {
	author, err := c.root.VerifyModuleAt(ctx, c.pkg.Wasm, c.pkg.Signature, c.now)
	if err != nil {
		return fmt.Errorf("counting the approvals: %w", err)
	}
	var people []signing.Identity
	for _, raw := range c.pkg.Approvals {
		a, err := c.root.VerifyApproval(ctx, c.digest, raw, c.now)
		if err == nil && a.Approver != author && a.GrantDigest() == c.verified.GrantDigest && !slices.Contains(people, a.Approver) {
			people = append(people, a.Approver)
		}
	}
	c.verified.Author, c.verified.Approvers, c.have = author, people, len(people)
	return nil
}

// manyApprovers is more than any policy asks for.
const manyApprovers = 16

// policyNeeds asks the policy what it would say if more people had approved. It
// may deny for other reasons too: needed is where more people change nothing.
func (c *approvalCount) policyNeeds(ctx context.Context) (int, error) {
	in := c.policyInput()
	if in.Module.Author == "" {
		in.Module.Author = "author" // of no consequence, yet a fact that must be there
	}
	others := c.others()
	var said [manyApprovers + 1]string
	for n := range said {
		in.Module.Approvers = others[:n]
		d, err := c.engine.Decide(ctx, in)
		if err != nil {
			return 0, fmt.Errorf("asking the policy how many must approve: %w", err)
		}
		said[n] = strings.Join(d.Reasons, ", ")
	}
	c.still = said[manyApprovers]
	needed := manyApprovers
	for needed > 1 && said[needed-1] == said[manyApprovers] {
		needed--
	}
	return needed, nil
}

// others are people who could approve, real ones first.
func (c *approvalCount) others() []string {
	var people []string
	for _, p := range c.verified.Approvers {
		people = append(people, string(p))
	}
	if c.root != nil {
		for _, p := range c.root.Approvers() {
			if p != c.verified.Author && !slices.Contains(people, string(p)) {
				people = append(people, string(p))
			}
		}
	}
	for n := len(people); n < manyApprovers; n++ {
		people = append(people, fmt.Sprintf("approver-%d", n))
	}
	return people
}

// String says how far the approvals are.
func (c *approvalCount) String() string {
	s := fmt.Sprintf("approvals: %d of %d that %s", c.have, c.needed, c.by)
	if c.root == nil {
		s += " (files counted: --trust-root tells whose they are)"
	}
	if c.still != "" {
		s += "; however many approve, the policy refuses it there: " + c.still
	}
	return s
}

// enough tells whether nobody else needs to approve.
func (c *approvalCount) enough() bool { return c.have >= c.needed }

// next is the command for the next approver.
func (c *approvalCount) next() string {
	return approveCommand(c.files, c.verified.Grant, importedFunctions(c.info))
}

// approved is what was written, and what is still missing.
type approved struct {
	Module    string `json:"module"`
	Approval  string `json:"approval"`
	KeyID     string `json:"key_id"`
	NotAfter  string `json:"not_after"`
	Approvals int    `json:"approvals"`
	Needed    int    `json:"approvals_needed"`
	Next      string `json:"next,omitempty"`
}

func (a approved) write(cmd *cobra.Command, c *approvalCount) error {
	a.Approvals, a.Needed = c.have, c.needed
	if !c.enough() {
		a.Next = c.next()
	}
	w := cmd.OutOrStdout()
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(w, a)
	}
	_, err := fmt.Fprintf(w, "approved with key %s until %s\nwrote %s\n%s\n", a.KeyID, a.NotAfter, a.Approval, c)
	if a.Next != "" {
		_, err = fmt.Fprintf(w, "not enough yet: somebody else runs\n  %s\n", a.Next)
	}
	return err
}

// approveCommand is what another person runs to approve the same grant.
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

// sizeText is what parseBytes reads as n again.
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

// modulePath is the directory of a module that has one to itself.
func modulePath(files moduleFiles) string {
	dir := filepath.Dir(files.wasm)
	if wasm, err := findWasm(dir); err == nil && wasm == files.wasm {
		return dir
	}
	return files.wasm
}
