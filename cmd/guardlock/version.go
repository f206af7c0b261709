package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildInfo says which build this is, from what the Go tool recorded in it.
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
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "guardlock %s (revision %s, %s, %s)\n", b.Version, b.revision(), b.Go, b.Platform)
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
	return b
}

// revision is short, and says when the tree had changes that were not committed.
func (b buildInfo) revision() string {
	r := b.Revision
	if r == "" {
		return "unknown"
	}
	r = r[:min(12, len(r))]
	if b.Modified {
		r += "+changes"
	}
	return r
}
