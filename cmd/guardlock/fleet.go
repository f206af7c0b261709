package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/ops"
)

// runFleet asks several gateways, and tells who is not as the others are.
func runFleet(cmd *cobra.Command, o *statusOptions) error {
	if o.config != "" || o.watch {
		return exit.Usagef("status: --fleet goes with --url for each gateway, and neither with --config nor --watch")
	}
	if len(o.urls) == 0 {
		return cli.NeedFlag(cmd, "url", "guardlock status --fleet --url http://a:9099 --url http://b:9099")
	}

	f, err := askFleet(cmd.Context(), o.askFlags)
	if err != nil {
		return err
	}

	if cli.WantsJSON(cmd) {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(f)
	} else {
		err = writeFleet(cmd.OutOrStdout(), f)
	}
	if err != nil {
		return err
	}
	return judgeFleet(f)
}

// askFleet asks all gateways at once, since one may not answer.
func askFleet(ctx context.Context, flags askFlags) (ops.Fleet, error) {
	members := make([]ops.Member, len(flags.urls))
	var wg sync.WaitGroup
	for i, url := range flags.urls {
		one := flags
		one.urls = []string{url}
		ask, err := one.asker(ctx)
		if err != nil {
			return ops.Fleet{}, err
		}

		wg.Go(func() {
			s, err := ask.status(ctx)
			if err != nil {
				members[i] = ops.Member{URL: url, Problem: err.Error()}
				return
			}
			members[i] = ops.MemberOf(url, s)
		})
	}

	wg.Wait()
	return ops.Compare(members), nil
}

// judgeFleet is the error of a fleet that is not as it should be.
func judgeFleet(f ops.Fleet) error {
	failing := 0
	for _, m := range f.Gateways {
		if m.Problem != "" || !m.Ready {
			failing++
		}
	}

	switch {
	case failing > 0:
		return fmt.Errorf("%s of %d cannot be asked or not ready", isAre(failing), len(f.Gateways))
	case len(f.Differences) > 0:
		return exit.Refusedf("%s between the gateways", cli.Count(len(f.Differences), "difference"))
	}
	return nil
}

func isAre(n int) string {
	if n == 1 {
		return "1 gateway is"
	}
	return fmt.Sprintf("%d gateways are", n)
}

// shownDigest is how much of a digest tells it from others for a person.
const shownDigest = 12

func writeFleet(w io.Writer, f ops.Fleet) error {
	differs := map[[2]string]bool{}
	for _, d := range f.Differences {
		differs[[2]string{d.URL, d.Fact}] = true
	}

	header := []string{"GATEWAY", "URL", "READY"}
	for _, fact := range ops.Facts {
		header = append(header, strings.ToUpper(strings.ReplaceAll(fact, "_", " ")))
	}

	t := cli.NewTable(header...)
	for _, m := range f.Gateways {
		row := []any{dash(m.Node), m.URL, yesNo(m.Ready)}
		for _, fact := range ops.Facts {
			cell := dash(short(fact, m.Facts[fact]))
			if differs[[2]string{m.URL, fact}] {
				cell += " *"
			}
			row = append(row, cell)
		}
		t.Add(row...)
	}
	if err := t.Write(w); err != nil {
		return err
	}

	for _, m := range f.Gateways {
		switch {
		case m.Problem != "":
			fmt.Fprintf(w, "UNREACHABLE: %s: %s\n", cli.Printable(m.URL), cli.Printable(m.Problem))
		case !m.Ready:
			fmt.Fprintf(w, "NOT READY: %s: %s\n", cli.Printable(m.Node), cli.Printable(strings.Join(m.Missing, "; ")))
		}
	}
	for _, d := range f.Differences {
		fmt.Fprintf(w, "DIFFERS: %s (%s): %s is %s, not %s\n", cli.Printable(d.Node), cli.Printable(d.URL), d.Fact,
			cli.Printable(dash(short(d.Fact, d.Has))), cli.Printable(dash(short(d.Fact, d.Most))))
	}
	if len(f.Differences) == 0 {
		_, err := fmt.Fprintln(w, "no difference between those that answer")
		return err
	}
	return nil
}

func short(fact, value string) string {
	if fact == "version" || fact == "node" {
		return value
	}
	return value[:min(len(value), shownDigest)]
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
