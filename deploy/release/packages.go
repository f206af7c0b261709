package main

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

//go:embed files
var packaged embed.FS

// packages writes the packages of one target, where it has any.
func (r *release) packages(b build) error {
	if b.os != "linux" {
		return nil
	}
	stage := filepath.Join(r.work, "stage-"+b.arch)
	if err := r.stage(stage); err != nil {
		return err
	}

	return errors.Join(
		r.pack(deb.Default, r.describe(b, stage)),
		r.pack(rpm.DefaultRPM, r.describe(b, stage)),
	)
}

// stage writes what a package holds beside the binary into a directory.
func (r *release) stage(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unit, err := os.ReadFile(filepath.Join(r.root, "deploy/guardlock.service"))
	if err != nil {
		return err
	}
	licence, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return err
	}

	staged := map[string][]byte{"guardlock.service": packagedUnit(unit), "LICENSE": licence}
	for shell, text := range r.completions {
		staged[shell] = text
	}
	for _, name := range []string{"sysusers.conf", "postinstall.sh", "preremove.sh"} {
		if staged[name], err = packaged.ReadFile("files/" + name); err != nil {
			return err
		}
	}

	maps.Copy(staged, r.manual)
	for name, data := range staged {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pages are the manual pages of a directory, compressed as distributions have them, by
// their file names.
func pages(dir string) (map[string][]byte, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		return nil, err
	}

	all := map[string][]byte{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(text); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		all[filepath.Base(path)+".gz"] = packed.Bytes()
	}

	return all, nil
}

// packagedUnit is the unit for a binary that a package put into /usr/bin. What its head
// says about installing by hand is left out.
func packagedUnit(unit []byte) []byte {
	_, body, _ := strings.Cut(string(unit), "[Unit]")
	return []byte("[Unit]" + strings.ReplaceAll(body, "/usr/local/bin/", "/usr/bin/"))
}

// describe is the package of a build. Its files are named one by one.
func (r *release) describe(b build, stage string) *nfpm.Info {
	file := func(from, to string, mode os.FileMode) *files.Content {
		return &files.Content{Source: from, Destination: to, FileInfo: &files.ContentFileInfo{Mode: mode, Owner: "root", Group: "root", MTime: r.epoch}}
	}
	info := &nfpm.Info{
		Name:            "guardlock",
		Arch:            b.arch,
		Platform:        "linux",
		Version:         r.version,
		Section:         "net",
		Priority:        "optional",
		Maintainer:      "The Guardlock authors",
		Description:     "Gateway in front of Kafka that runs signed and approved modules\nEvery record that a producer sends passes through them before it is stored, and a\ndecision log records each decision.",
		Homepage:        "https://github.com/guardlock/guardlock",
		License:         "Apache-2.0",
		DisableGlobbing: true,
		MTime:           r.epoch,
	}

	info.Contents = files.Contents{
		file(b.path, "/usr/bin/guardlock", 0o755),
		file(filepath.Join(stage, "guardlock.service"), "/usr/lib/systemd/system/guardlock.service", 0o644),
		file(filepath.Join(stage, "sysusers.conf"), "/usr/lib/sysusers.d/guardlock.conf", 0o644),
		file(filepath.Join(stage, "LICENSE"), "/usr/share/doc/guardlock/copyright", 0o644),
		file(filepath.Join(stage, "bash"), "/usr/share/bash-completion/completions/guardlock", 0o644),
		file(filepath.Join(stage, "fish"), "/usr/share/fish/vendor_completions.d/guardlock.fish", 0o644),
		file(filepath.Join(stage, "zsh"), "/usr/share/zsh/site-functions/_guardlock", 0o644),
		{Destination: "/etc/guardlock", Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Mode: 0o750, Owner: "root", Group: "root", MTime: r.epoch}},
	}
	for _, page := range slices.Sorted(maps.Keys(r.manual)) {
		info.Contents = append(info.Contents, file(filepath.Join(stage, page), "/usr/share/man/man1/"+page, 0o644))
	}
	info.Scripts = nfpm.Scripts{
		PostInstall: filepath.Join(stage, "postinstall.sh"),
		PreRemove:   filepath.Join(stage, "preremove.sh"),
	}
	info.RPM.BuildHost = "guardlock.dev" // not the name of the machine

	return info
}

// pack writes one package under the name that its kind wants.
func (r *release) pack(kind nfpm.PackagerWithExtension, info *nfpm.Info) error {
	info = nfpm.WithDefaults(info)
	if err := nfpm.PrepareForPackager(info, strings.TrimPrefix(kind.ConventionalExtension(), ".")); err != nil {
		return fmt.Errorf("describing package: %w", err)
	}
	return r.create(kind.ConventionalFileName(info), func(w io.Writer) error { return kind.Package(info, w) })
}
