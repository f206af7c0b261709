package trust

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// trying is what a command asks of admission: whether a package would be let in.
// Nothing of it is decided here.
type trying struct {
	name   string // of the module, in the gateway's configuration
	node   string // of the gateway
	pkg    signing.Package
	root   *signing.TrustRoot
	engine *policy.Engine
	place  admission.Place
	now    time.Time
}

// anyNode stands for a gateway that nobody named, where a policy wants a name.
const anyNode = "guardlock-cli"

// examine takes the package through every step that a gateway takes it through.
// Random bytes stand in for the gateway's keys.
func (t trying) examine(ctx context.Context) (admission.Verdict, error) {
	runtime, err := transforms.New(transforms.Config{Trial: []string{transforms.TrialCommand}, Worker: []string{transforms.WorkerCommand}})
	if err != nil {
		return admission.Verdict{}, err
	}

	defer runtime.Close(ctx)

	a := admission.New(admission.Admitter{
		Trust:    t.root,
		Policy:   t.engine,
		Runtime:  runtime,
		MakeKeys: true,
		Node:     t.node,
		Version:  build.Read().Version,
		Now:      func() time.Time { return t.now },
	})

	place := t.place
	if len(place.Topics) == 0 {
		// What is wrong with the package is said by its step of admission, and
		// not here.
		v, _ := t.root.VerifyPackage(ctx, t.pkg, t.now)
		place.Topics = v.Grant.Topics
	}

	return a.Examine(ctx, admission.Module{Name: t.name, Package: t.pkg}, place), nil
}

// moduleName is what a module is called where no configuration says it: by its
// file.
func moduleName(files moduleFiles) string {
	return strings.TrimSuffix(filepath.Base(files.wasm), ".wasm")
}

// rehearsal is a package as if author and approvers had signed it, with throw-away
// keys: it tells what admission says of a grant that nobody, or not enough people,
// have signed yet.
func rehearsal(ctx context.Context, pkg signing.Package, grant signing.Approval, author string, approvers []string) (signing.Package, *signing.TrustRoot, error) {
	type person struct {
		Identity string `json:"identity"`
		Key      string `json:"key"`
	}

	throwAway := func(name string) (*signing.PrivateKey, person, error) {
		key, err := signing.GenerateKey(rand.Reader)
		if err != nil {
			return nil, person{}, err
		}
		pem, err := key.Public().MarshalPEM()
		return key, person{name, string(pem)}, err
	}

	key, who, err := throwAway(author)
	if err != nil {
		return pkg, nil, err
	}

	file := map[string]any{"threshold": 1, "authors": []person{who}}
	if pkg.Signature, err = signing.SignModule(ctx, pkg.Wasm, key); err != nil {
		return pkg, nil, err
	}

	pkg.Approvals = nil
	pkg.Names = nil
	grant.Approver = ""

	var people []person
	for _, name := range approvers {
		key, who, err := throwAway(name)
		if err != nil {
			return pkg, nil, err
		}

		bundle, err := signing.Approve(ctx, grant, key)
		if err != nil {
			return pkg, nil, err
		}

		people = append(people, who)
		pkg.Approvals = append(pkg.Approvals, bundle)
	}

	file["approvers"] = people
	raw, err := json.Marshal(file)
	if err != nil {
		return pkg, nil, err
	}

	root, err := signing.ParseTrustRoot(raw)
	return pkg, root, err
}

// writeSteps prints verdicts in order, one step a line, with further lines of
// its detail below.
func writeSteps(w io.Writer, steps []admission.Step) error {
	p := cli.PaletteFor(w)
	for _, s := range steps {
		mark := map[string]string{admission.Passed: p.Green("passed "), admission.Failed: p.Red("refused"), admission.NotReached: p.Dim("-      ")}[s.Verdict]
		detail := s.Detail
		if s.Verdict == admission.NotReached {
			detail = s.Verdict
		}
		if s.Code != "" && s.Name != admission.StepPolicy { // which names all its reasons
			detail = s.Code + ": " + detail
		}

		for i, line := range strings.Split(detail, "\n") {
			prefix := fmt.Sprintf("%s  %-10s", mark, s.Name)
			if i > 0 {
				prefix = strings.Repeat(" ", 19)
			}
			if _, err := fmt.Fprintf(w, "%s %s\n", prefix, cli.Printable(line)); err != nil {
				return err
			}
		}
	}

	return nil
}
