package trust

import (
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

type moduleApproveCommand struct {
	key       string
	config    string
	name      string
	out       string
	trustRoot string
	policy    string
	dataClass string
	running   string
	yes       bool
	force     bool
	predicate bool
	grant     grantFlags
}

const approveHelp = `Approve that a module, with exactly this configuration, may run on the named
topics with the named means until a given day. What is approved is shown first,
and a question asked; nothing is written without a yes.

The approval is written as approval.NAME.sigstore.json beside the module. One
changed byte in the module or its configuration makes it void. Approvals count
together only if they grant exactly the same.

Shown are the configuration's text, with --running what differs from the version
that runs now, and each step that a gateway would take the module through once
enough people approved, taken with the gateway's own code.

Without --host-function the module is granted what it imports; each is shown.
With --trust-root the author's signature is checked before you are asked.

What no other signature and no time can cure is refused, with exit code 3: a module
that imports what this does not grant or no gateway has, one that does not start
with this configuration, an approval by the module's author, or by a key that is
revoked or has expired. --force writes it all the same. What a policy refuses is
written: it may be asked again under another.

Then it says how many people have approved this grant, how many must, and what
the next one runs. How many must is for --policy to say, by --data-class.

With --print-predicate nothing is signed: the predicate is printed, to be signed
with cosign (2.6 or later), for instance by a key in a KMS:
  cosign attest-blob --key KEY --type ` + signing.PredicateType + ` \
    --predicate predicate.json --bundle approval.NAME.sigstore.json \
    --new-bundle-format --use-signing-config=false --tlog-upload=false --yes MODULE.wasm
An approval is checked with cosign by
  cosign trusted-root create --out none.json
  cosign verify-blob-attestation --key grace.pub --type ` + signing.PredicateType + ` \
    --bundle approval.NAME.sigstore.json --trusted-root none.json --insecure-ignore-tlog MODULE.wasm`

func newModuleApproveCommand() *cobra.Command {
	var c moduleApproveCommand
	cmd := &cobra.Command{
		Use:   "approve MODULE",
		Short: "Approve what a module may do, where, and until when",
		Long:  approveHelp,
		Example: `  guardlock module approve modules/gdpr --key grace.key --topic 'customers*' --valid-for 90d --ticket SEC-112
  guardlock module approve modules/fraud --key grace.key --topic payments --route payments.quarantine --not-after 2030-12-31
  guardlock module approve modules/gdpr --topic customers --print-predicate >predicate.json`,
		Args: cli.NeedArgs("MODULE"),
		RunE: c.run,
	}

	fl := cmd.Flags()
	fl.StringVarP(&c.key, "key", "k", "", "private key `FILE` of the approver")
	fl.StringVar(&c.config, "config", "", "the module's configuration `FILE` (default config.json beside it)")
	fl.StringVar(&c.name, "name", "", "name in the approval's file name (default: that of the key file)")
	fl.StringVarP(&c.out, "out", "o", "", "write the approval to this `FILE`")
	fl.StringVar(&c.trustRoot, "trust-root", "", "check the author's signature against this trust root `FILE` first")
	fl.StringVar(&c.policy, "policy", "", "policy directory or bundle `PATH` that says how many must approve (default: the built-in policy)")
	fl.StringVar(&c.dataClass, "data-class", "", "class of the data, of those that the policy has (default: the policy's default class)")
	fl.StringVar(&c.running, "running", "", "module or directory, as MODULE, that runs now: what differs is shown")
	fl.BoolVarP(&c.yes, "yes", "y", false, "do not ask")
	fl.BoolVar(&c.force, "force", false, "write the approval though no gateway will ever run the module by it")
	fl.BoolVar(&c.predicate, "print-predicate", false, "print the statement for cosign and sign nothing")
	c.grant.register(cmd)

	return cmd
}

func (c *moduleApproveCommand) run(cmd *cobra.Command, args []string) error {
	files, pkg, err := c.load(args[0])
	if err != nil {
		return err
	}

	info, err := transforms.Inspect(pkg.Wasm, transforms.ScanLimits{})
	if err != nil {
		return exit.WithHint(exit.Refusedf("inspecting %s: %s: %w", files.wasm, admission.StructureCode, err), "no gateway would load this module")
	}

	approval, err := c.grant.approval(cmd, importedFunctions(info), time.Now())
	if err != nil {
		return err
	}

	approval.ModuleDigest, approval.ConfigDigest = sha256.Sum256(pkg.Wasm), sha256.Sum256(pkg.Config)
	if _, err := signing.Predicate(approval); err != nil {
		return exit.WithCode(fmt.Errorf("approving %s: %w", files.wasm, err), exit.Usage)
	}
	if c.predicate {
		return printPredicate(cmd.OutOrStdout(), approval)
	}
	if c.key == "" {
		return cli.NeedFlag(cmd, "key", "guardlock module approve gdpr.wasm --key grace.key --topic customers")
	}

	author, err := c.checkAuthor(cmd, pkg)
	if err != nil {
		return err
	}

	signed, err := c.sign(cmd, files, approval)
	if err != nil {
		return err
	}

	review := approvalReview{
		files:    files,
		signed:   signed.bundle,
		config:   pkg.Config,
		approval: approval,
		info:     info,
		author:   author,
	}
	if err := c.show(cmd, files, &review); err != nil {
		return err
	}
	if err := c.confirm(cmd, &review); err != nil {
		return err
	}

	told, err := signed.store(files, approval)
	if err != nil {
		return err
	}

	told.note(review.preview)
	counted, err := c.count(cmd, files, approval)
	if err != nil {
		return err
	}

	return told.write(cmd, counted)
}

// incurable are the codes of what the approval itself, or the bytes that it names, are
// refused for. Others end when somebody else signs, when the trust root or the policy is
// another, or when time has passed.
var incurable = []string{
	admission.StructureCode, "import_unknown", "import_not_approved", "load_failed", // the module
	"digest_mismatch", "config_changed", "too_large",
	"author_approved", "revoked", "expired", "key_expired", // the approval
}

// beyondCure is the refusal of a preview that nothing done later takes away; nil without
// one.
func beyondCure(preview admission.Verdict) *admission.Refused {
	if preview.Refused == nil || !slices.Contains(incurable, preview.Refused.Code) {
		return nil
	}
	return preview.Refused
}

// show prints what is to be approved, and what a gateway would say of it. It comes
// before anything is signed, so that a policy that cannot be asked is known.
func (c *moduleApproveCommand) show(cmd *cobra.Command, files moduleFiles, r *approvalReview) error {
	counted, err := c.count(cmd, files, r.approval)
	if err != nil {
		return err
	}
	if r.preview, err = counted.preview(cmd.Context(), r.signed); err != nil {
		return err
	}
	if err := r.compare(c.running); err != nil {
		return err
	}

	return r.write(cmd.ErrOrStderr())
}

func (c *moduleApproveCommand) load(path string) (moduleFiles, signing.Package, error) {
	files, err := findModule(path)
	if err != nil {
		return files, signing.Package{}, err
	}
	if c.config != "" {
		files.config = c.config
	}

	files.approvals = nil // those of others play no part
	pkg, err := files.read()
	return files, pkg, err
}

// checkAuthor says who signed the module, or that nobody looked since no trust
// root was given.
func (c *moduleApproveCommand) checkAuthor(cmd *cobra.Command, pkg signing.Package) (string, error) {
	if c.trustRoot == "" {
		return "not checked (give --trust-root)", nil
	}
	root, err := loadTrustRoot(c.trustRoot)
	if err != nil {
		return "", err
	}

	author, err := root.For(addressee(c.grant.audience)).VerifyModule(cmd.Context(), pkg.Wasm, pkg.Signature)
	if err != nil {
		return "", exit.Refusedf("checking the author's signature: %s: %w", admission.SignatureCode(err), err)
	}
	return string(author), nil
}

// confirm asks, if there is something to be asked. Anything but a yes, the end of the
// input too, is a no, since an approval cannot be taken back by itself.
func (c *moduleApproveCommand) confirm(cmd *cobra.Command, r *approvalReview) error {
	if refusal := beyondCure(r.preview); refusal != nil && !c.force {
		return exit.WithHint(exit.Refusedf("approving %s: %s: %w", r.files.wasm, refusal.Code, refusal.Err),
			"nothing was written, since no other approval and no time cures that; --force writes it all the same")
	}
	if c.yes {
		return nil
	}
	yes, err := cli.Confirm(cmd, "Approve exactly this?")
	if err != nil || yes {
		return err
	}
	return exit.WithHint(exit.Refusedf("approving: not confirmed, nothing was written"), "answer y, or give --yes where nobody can answer")
}

// signedApproval is an approval that was signed and that nobody has yet: it is
// only in memory.
type signedApproval struct {
	bundle []byte
	keyID  string
	out    string
}

// sign signs in memory: what a gateway says of the approval is shown before
// anything is written.
func (c *moduleApproveCommand) sign(cmd *cobra.Command, files moduleFiles, approval signing.Approval) (signedApproval, error) {
	out, err := c.path(files)
	if err != nil {
		return signedApproval{}, err
	}

	key, err := LoadPrivateKey(cmd, c.key)
	if err != nil {
		return signedApproval{}, err
	}

	bundle, err := signing.Approve(cmd.Context(), approval, key)
	if err != nil {
		return signedApproval{}, exit.WithCode(fmt.Errorf("approving %s: %w", files.wasm, err), exit.Usage)
	}

	return signedApproval{bundle, key.ID(), out}, nil
}

// store writes the approval where its name says, beside the module.
func (s signedApproval) store(files moduleFiles, approval signing.Approval) (approved, error) {
	if err := disk.Replace(s.out, s.bundle, 0o644); err != nil {
		return approved{}, fmt.Errorf("writing the approval: %w", err)
	}

	made, err := signing.ReadUnverified(s.bundle)
	if err != nil {
		return approved{}, fmt.Errorf("reading what was written: %w", err)
	}

	return approved{
		Module:   files.wasm,
		Approval: s.out,
		ID:       made.ID,
		KeyID:    s.keyID,
		NotAfter: approval.NotAfter.Format(time.RFC3339),
	}, nil
}

var fileNamePart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (c *moduleApproveCommand) path(files moduleFiles) (string, error) {
	if c.out != "" {
		return c.out, nil
	}
	name := c.name
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(c.key), ".key")
	}
	if !fileNamePart.MatchString(name) {
		return "", exit.Usagef("--name %q cannot be part of a file name: use letters, digits, '.', '_' and '-'", name)
	}

	return filepath.Join(filepath.Dir(files.wasm), approvalPrefix+name+bundleSuffix), nil
}

func printPredicate(w io.Writer, a signing.Approval) error {
	predicate, err := signing.Predicate(a)
	if err != nil {
		return exit.WithCode(err, exit.Usage)
	}
	_, err = fmt.Fprintf(w, "%s\n", predicate)
	return err
}

func loadTrustRoot(path string) (*signing.TrustRoot, error) {
	raw, err := disk.Read(path, signing.MaxTrustRootBytes)
	if err != nil {
		return nil, fmt.Errorf("reading the trust root: %w", err)
	}

	root, err := signing.ParseTrustRoot(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return root, nil
}

// importedFunctions are the host functions that a module cannot run without,
// and so the default of what it is granted.
func importedFunctions(info transforms.Info) []string {
	var names []string
	for _, im := range info.Imports {
		if name := im.String(); im.Kind == "func" && transforms.KnownHostFunction(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
