//go:build man

package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra/doc"
)

// main, of a program that is built with the tag man, writes manual pages, so
// that what is released holds none of what makes them:
//
//	go run -tags man ./cmd/guardlock DIRECTORY VERSION SECONDS
//
// SECONDS is the date of the pages, since the epoch.
func main() {
	if err := writeManual(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guardlock:", err)
		os.Exit(1)
	}
}

func writeManual(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("needs DIRECTORY VERSION SECONDS, has %q", args)
	}
	seconds, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}

	date := time.Unix(seconds, 0).UTC()
	root := newRootCommand()
	root.DisableAutoGenTag = true
	return doc.GenManTree(root, &doc.GenManHeader{
		Section: "1",
		Date:    &date,
		Source:  "Guardlock " + args[1],
		Manual:  "Guardlock",
	}, args[0])
}
