package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version and revision are set by deploy/build.sh, with the linker's -X: its
// builds hold nothing of the directory that they are made in, so the Go tool
// records neither.
var version, revision string

// buildInfo says which build this is, from what was recorded in it.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	Time     string `json:"time"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, source revision and Go version of this build",
		Example: "  guardlock version\n  guardlock version --json",
		Args:    needArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := readBuildInfo()
			if wantsJSON(cmd) {
				return printJSON(cmd.OutOrStdout(), b)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "guardlock %s (revision %s, %s, %s)\n", b.Version, b.shortRevision(), b.Go, b.Platform)
			return err
		},
	}
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	if version != "" {
		b.Version = version
	}
	if revision != "" {
		b.Revision, b.Modified = strings.CutSuffix(revision, changesMark)
	}
	return b
}

// changesMark follows a revision that the sources differ from.
const changesMark = "+changes"

// shortRevision is for people, and says when the tree had changes that were not
// committed.
func (b buildInfo) shortRevision() string {
	r := b.Revision
	if r == "" {
		return "unknown"
	}
	r = r[:min(12, len(r))]
	if b.Modified {
		r += changesMark
	}
	return r
}
