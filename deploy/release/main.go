// Command release makes a release of Guardlock: binaries, packages, an image, bills of
// material, checksums, and the signatures over them. docs/releasing.md says how it is used.
//
// It is a module of its own, so that the gateway depends on none of what only a release
// needs. Everything but the signatures is the same bytes wherever it is made.
//
// Trust: the sources, the Go tool and the key belong to whoever releases. What verify
// reads is hostile until the signature over it holds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const usage = `usage: release [-key FILE] [-targets OS/ARCH,…] VERSION OUT
       release -verify FILE.pub DIR

The first makes the release VERSION (as v1.2.3) of the commit that is checked out, in
the directory OUT, which must not exist. The second checks one that was downloaded.

`

func main() {
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flag.PrintDefaults()
	}
	keyFile := flag.String("key", "", "sign with this key of `guardlock keygen`; its password is in GUARDLOCK_PASSWORD")
	publicFile := flag.String("verify", "", "check a release with this public key")
	targets := flag.String("targets", strings.Join(allTargets, ","), "what to build for")
	flag.Parse()

	if err := run(context.Background(), *keyFile, *publicFile, *targets, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, keyFile, publicFile, targets string, args []string) error {
	if publicFile != "" {
		if len(args) != 1 {
			return errors.New("-verify needs one directory")
		}
		return printVerified(ctx, publicFile, args[0])
	}
	if len(args) != 2 {
		return errors.New("needs VERSION and OUT: see -help")
	}

	root, err := repository()
	if err != nil {
		return err
	}
	r, err := newRelease(root, args[0], args[1], strings.Split(targets, ","))
	if err != nil {
		return err
	}

	// A wrong password should not be found out after minutes of building.
	key, err := readKey(keyFile)
	if err != nil {
		return err
	}
	if err := r.make(ctx); err != nil {
		return err
	}
	if key == nil {
		fmt.Println("not signed: there was no -key")
		return nil
	}

	return r.sign(ctx, key)
}

// repository is the root of the sources: this program is run in its own directory.
func repository() (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(root, "deploy/build.sh")); err != nil {
		return "", fmt.Errorf("run it in deploy/release of the repository: %w", err)
	}
	return root, nil
}
