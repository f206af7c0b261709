package decisions

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

// againstFlags say which manifest another is compared with.
type againstFlags struct {
	against string
	config  string
}

func (a *againstFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.against, "against", "", "the manifest `FILE` to compare it with, as the one in force")
	cmd.Flags().StringVarP(&a.config, "config", "c", "", "compare it with the manifest of the gateway with this configuration `FILE`")
}

// difference is in what a manifest differs from another, as --json prints it.
type difference struct {
	Against  string            `json:"against"`
	Cluster  string            `json:"cluster"`
	Revision int64             `json:"revision"`
	Digest   string            `json:"digest"`
	Changes  []manifest.Change `json:"changes"`
	Loses    bool              `json:"loses"`
}

// difference compares a manifest with the one that is asked for; nil where none is. Where
// a trust root vouches for the manifest, it must vouch for the other, too.
func (a *againstFlags) difference(cmd *cobra.Command, path string, m *manifest.Manifest, root string) (*difference, error) {
	if a.against != "" && a.config != "" {
		return nil, exit.Usagef("give --against or --config, not both")
	}
	other := a.against
	if a.config != "" {
		kept, err := inForce(a.config, path)
		if err != nil {
			return nil, err
		}
		other, root = kept, "" // the gateway asked its trust root
	}
	if other == "" {
		return nil, nil
	}

	before, err := readManifest(cmd, other, root)
	if err != nil {
		return nil, err
	}
	if before.Plain() {
		return nil, exit.Usagef("comparing with %s: %w", other, manifest.ErrPlain)
	}

	d := &difference{Against: other, Cluster: before.Cluster, Revision: before.Revision, Digest: fmt.Sprintf("%x", before.Digest()), Changes: []manifest.Change{}}
	for _, c := range m.Since(before.Manifest) {
		d.Changes = append(d.Changes, c)
		d.Loses = d.Loses || c.Effect == manifest.Lost
	}
	return d, nil
}

// inForce is the manifest that was in force last on a gateway, which keeps it. One that
// has had none yet is to have the file that it is configured with.
func inForce(configuration, path string) (string, error) {
	cfg, err := loadConfig(configuration)
	if err != nil {
		return "", err
	}
	if cfg.Audit.Manifest.File == "" {
		return "", exit.Usagef("%s names no manifest (audit.manifest)", configuration)
	}

	kept := cfg.AcceptedManifest()
	_, err = os.Stat(kept)
	if err == nil {
		return kept, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("looking for the manifest in force: %w", err)
	}

	named := cfg.File(cfg.Audit.Manifest.File)
	if sameFile(named, path) {
		return "", exit.WithHint(exit.NotFoundf("no manifest has been in force on the gateway of %s: there is no %s", configuration, kept), "give the one before with --against FILE")
	}
	return named, nil
}

// sameFile reports whether two names are of one file.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

var differenceSigns = map[manifest.Effect]string{manifest.Lost: "-", manifest.Gained: "+", manifest.Changed: "!"}

// write tells a person in what a manifest differs. Its lines are those of a diff.
func (d *difference) write(w io.Writer) error {
	if d == nil {
		return nil
	}
	text := fmt.Sprintf("against %s: cluster %s, revision %d: ", d.Against, d.Cluster, d.Revision)
	if len(d.Changes) == 0 {
		_, err := fmt.Fprintln(w, cli.Printable(text+"the same gateways and logs"))
		return err
	}

	if _, err := fmt.Fprintln(w, cli.Printable(text+cli.Count(len(d.Changes), "difference"))); err != nil {
		return err
	}
	for _, c := range d.Changes {
		if _, err := fmt.Fprintf(w, "%s %s\n", differenceSigns[c.Effect], cli.Printable(c.Text)); err != nil {
			return err
		}
	}
	return nil
}

// lost is the error of a manifest that takes something away.
func (d *difference) lost() error {
	if d == nil || !d.Loses {
		return nil
	}
	return exit.WithHint(exit.Refusedf("something is lost that %s demands", d.Against), "lines that begin with - say what: sign it only if each is meant")
}
