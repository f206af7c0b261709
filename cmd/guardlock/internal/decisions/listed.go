package decisions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/problem"
	"github.com/guardlock/guardlock/signing"
)

// listed are the logs that the manifest demands. A trust root must vouch for it where one
// is given; else it is said that nobody does.
func (l *logsFlags) listed(cmd *cobra.Command, root string) ([]gatewayLog, error) {
	signed, err := readManifest(cmd, l.manifest, root)
	if err != nil {
		return nil, err
	}
	if signed.Plain() {
		return l.plain(cmd, signed.Manifest)
	}

	if root == "" {
		cli.Warn(cmd.ErrOrStderr(), fmt.Errorf("nobody vouches that %s names all gateways: its signatures were not checked; give --%s", l.manifest, trustRootFlag))
	}
	l.signed = signed
	return l.place(cmd)
}

// plain are the logs of a list without ids: only the list says that there are no others.
func (l *logsFlags) plain(cmd *cobra.Command, m *manifest.Manifest) (all []gatewayLog, err error) {
	if cmd.Flags().Changed("dir") {
		return nil, exit.WithHint(exit.Usagef("give one of --dir and --manifest: %s has directories, and no log ids", l.manifest),
			"guardlock audit manifest make writes one with log ids")
	}

	cli.Warn(cmd.ErrOrStderr(), fmt.Errorf("nobody vouches that %s names all gateways: it is a plain list, which cannot be signed (see audit manifest --help)", l.manifest))
	for _, g := range m.Gateways {
		from := gatewayLog{Name: g.Name, Dir: beside(l.manifest, g.Dir)}
		if g.Key != "" {
			from.LogKey = beside(l.manifest, g.Key)
		}
		all = append(all, from)
	}
	return all, nil
}

// readManifest reads a manifest, and has the trust root vouch for it if there is one. The
// trust root is read first: without it there is nothing to go on with.
func readManifest(cmd *cobra.Command, path, root string) (*manifest.Signed, error) {
	flags := evidenceFlags{trustRoot: root}
	if root == "" {
		m, _, err := loadManifest(cmd.Context(), path)
		return &manifest.Signed{Manifest: m}, err
	}

	trust, err := flags.root()
	if err != nil {
		return nil, err
	}
	m, bundles, err := loadManifest(cmd.Context(), path)
	if err != nil {
		return nil, err
	}
	signed, err := m.Verify(cmd.Context(), trust, bundles, time.Now())
	if err != nil {
		return nil, exit.WithHint(exit.Refusedf("%s: %w", path, err), "nothing is answered by a manifest that nobody vouches for; signatures stand beside it: %s", signing.SignatureOf(path, "NAME"))
	}
	return signed, nil
}

// loadManifest reads a manifest and the signatures beside it.
func loadManifest(ctx context.Context, path string) (m *manifest.Manifest, bundles [][]byte, err error) {
	raw, err := disk.ReadInput(ctx, path, manifest.MaxBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading manifest: %w", err)
	}
	if m, err = manifest.Parse(raw); err != nil {
		return nil, nil, manifestError(path, err)
	}

	names, err := disk.Beside(path, signing.BundleSuffix)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		b, err := disk.Read(name, manifest.MaxBytes)
		if err != nil {
			return nil, nil, fmt.Errorf("reading a signature of %s: %w", path, err)
		}
		bundles = append(bundles, b)
	}
	return m, bundles, nil
}

func manifestError(path string, err error) error {
	var all problem.List
	if errors.As(err, &all) {
		return exit.Usagef("reading manifest %s: %w", path, all)
	}
	return exit.Usagef("reading manifest %s: %w", path, err)
}

// place finds the directory of each log that the manifest demands: those that it names,
// or those of --dir, which are told from each other by the ids of their logs.
func (l *logsFlags) place(cmd *cobra.Command) (all []gatewayLog, err error) {
	given := cmd.Flags().Changed("dir")
	dirs := map[string]string{}
	if given {
		if dirs, err = identified(l.dirs); err != nil {
			return nil, err
		}
	}

	var missing []string
	for _, d := range l.signed.Logs() {
		dir := dirs[d.ID]
		if !given && d.Dir != "" && d.Lost == "" {
			dir = beside(l.manifest, d.Dir)
		}
		delete(dirs, d.ID)

		switch {
		case dir != "":
			all = append(all, gatewayLog{Name: d.Gateway, Dir: dir, LogKey: d.Key, id: d.ID, by: l.signed})
		case d.Lost == "":
			missing = append(missing, fmt.Sprintf("%s (log %s)", d.Gateway, d.ID))
		}
	}

	for id, dir := range dirs {
		err = errors.Join(err, exit.Refusedf("the log in %s (log %s) is not in the manifest %s, revision %d: a gateway that nobody vouches for", dir, id, l.manifest, l.signed.Revision))
	}
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, exit.WithHint(exit.NotFoundf("the manifest %s demands logs of which no directory is given: %s", l.manifest, strings.Join(missing, ", ")),
			"nothing is answered without them: give the directory of each with --dir, or as dir in the manifest")
	}
	return all, nil
}

// identified are directories by the ids of the logs in them.
func identified(dirs []string) (map[string]string, error) {
	byID := map[string]string{}
	for _, dir := range dirs {
		r, err := openLog(dir)
		if err != nil {
			return nil, err
		}

		id, _, err := identity(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, auditError(dir, err)
		}
		if other := byID[id]; other != "" {
			return nil, exit.Usagef("%s and %s are the same log", other, dir)
		}
		byID[id] = dir
	}
	return byID, nil
}

// identity is the id of a log in hexadecimal, and its gateway's name.
func identity(r *query.Reader) (id, node string, err error) {
	raw, node, err := r.Identity()
	return fmt.Sprintf("%x", raw), node, err
}

// identify holds a log against the id that the manifest has for it, and the manifest
// against the one under which the log was written last: who was shown an old one would not
// miss a gateway that came later.
func (g *gatewayLog) identify(ctx context.Context, r *query.Reader) error {
	if g.id == "" {
		return nil
	}
	id, _, err := identity(r)
	if err != nil {
		return auditError(g.Dir, err)
	}
	if id != g.id {
		return exit.Refusedf("the log in %s is %s, and the manifest has %s for %s: it is another log", g.Dir, id, g.id, g.Name)
	}

	return g.notOlder(ctx, r)
}

// notOlder refuses a manifest in whose place a log has had a newer one, also where the
// gateway serves without any by now.
func (g *gatewayLog) notOlder(ctx context.Context, r *query.Reader) error {
	last, err := r.LastAuthorityNaming(ctx, manifest.Role)
	if errors.Is(err, audit.ErrNotFound) {
		return nil
	}
	if err != nil {
		return auditError(g.Dir, err)
	}
	for _, f := range last.Control.Loaded.Files {
		if f.Role == manifest.Role && f.Digest != g.by.Digest() && f.Revision >= g.by.Revision {
			return exit.WithHint(exit.Refusedf("the log in %s was written under revision %d of the manifest (sha256:%.12s), and the one that is given is revision %d", g.Dir, f.Revision, f.Digest, g.by.Revision),
				"an old manifest may lack gateways: take the newest")
		}
	}
	return nil
}

// trustIn is trust in one log key, which is given itself or as a file.
func trustIn(key string) (*evidence.Trust, error) {
	if v, err := note.NewVerifier(key); err == nil {
		return &evidence.Trust{Logs: []note.Verifier{v}}, nil
	}
	return (&evidenceFlags{logKeys: []string{key}}).keys()
}

// listing is the manifest that a result rests on, as it is told with that.
type listing struct {
	File     string      `json:"file"`
	Cluster  string      `json:"cluster"`
	Revision int64       `json:"revision"`
	Digest   string      `json:"digest"`
	Signers  []string    `json:"signers"` // none: they were not asked for
	Logs     []listedLog `json:"logs"`

	Difference *difference `json:"difference,omitempty"` // where it is compared with another
}

type listedLog struct {
	Gateway string `json:"gateway"`
	ID      string `json:"log_id"`
	Former  bool   `json:"former,omitempty"`
	Lost    string `json:"lost,omitempty"`
	Key     string `json:"log_key"`
	Dir     string `json:"dir,omitempty"` // where it was read
}

// listing is nil where no manifest demands anything.
func (l *logsFlags) listing() *listing {
	if l.signed == nil {
		return nil
	}
	return listingOf(l.manifest, l.signed, l.found)
}

func listingOf(path string, m *manifest.Signed, found []gatewayLog) *listing {
	out := &listing{
		File:     path,
		Cluster:  m.Cluster,
		Revision: m.Revision,
		Digest:   fmt.Sprintf("%x", m.Digest()),
		Signers:  []string{},
	}
	for _, s := range m.Signers {
		out.Signers = append(out.Signers, string(s.Identity))
	}

	for _, d := range m.Logs() {
		log := listedLog{Gateway: d.Gateway, ID: d.ID, Former: d.Former, Lost: d.Lost, Key: d.Key}
		if i := slices.IndexFunc(found, func(g gatewayLog) bool { return g.id == d.ID }); i >= 0 {
			log.Dir = found[i].Dir
		}
		out.Logs = append(out.Logs, log)
	}
	return out
}

// summary says in a line which manifest it is, and who vouches for it.
func (l *listing) summary() string {
	by := "signatures not checked"
	if len(l.Signers) > 0 {
		by = "signed by " + strings.Join(l.Signers, ", ")
	}
	return fmt.Sprintf("%s: cluster %s, revision %d, %s", l.File, l.Cluster, l.Revision, by)
}

// write tells a person what a result rests on, and leaves a line before that result.
func (l *listing) write(w io.Writer) error {
	if l == nil {
		return nil
	}
	if err := l.each(w, false); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

// each writes the manifest and its logs; with their keys for whoever is to sign that.
func (l *listing) each(w io.Writer, keys bool) error {
	if _, err := fmt.Fprintf(w, "manifest %s\n", cli.Printable(l.summary())); err != nil {
		return err
	}

	for _, log := range l.Logs {
		text := fmt.Sprintf("log %s of %s", log.ID, log.Gateway)
		if log.Former {
			text += ", a former one"
		}
		if log.Lost != "" && log.Dir == "" {
			text += ", LOST: " + log.Lost
		}
		if keys {
			text += ", key " + log.Key
		}
		if _, err := fmt.Fprintln(w, cli.Printable(text)); err != nil {
			return err
		}
	}
	return l.Difference.write(w)
}
