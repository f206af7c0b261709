package main

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// entry is a file or, without data and with a name that ends in a slash, a directory
// of a tar archive.
type entry struct {
	name string
	mode int64
	user int // and group
	data []byte
}

// writeTar writes entries in the order given. Nothing of the machine gets into it.
func writeTar(w io.Writer, at time.Time, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Uid: e.user, Gid: e.user, Size: int64(len(e.data)), ModTime: at, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if e.name[len(e.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(e.data); err != nil {
			return err
		}
	}
	return t.Close()
}

// writeTarGz is writeTar, compressed. The header of gzip names no file and no time.
func writeTarGz(w io.Writer, at time.Time, entries []entry) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := writeTar(z, at, entries); err != nil {
		return err
	}
	return z.Close()
}

// archive writes the binary of one target with what belongs beside it.
func (r *release) archive(b build) error {
	binary, err := os.ReadFile(b.path)
	if err != nil {
		return err
	}
	licence, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return err
	}

	dir := fmt.Sprintf("guardlock_%s_%s_%s", r.number(), b.os, b.arch)
	entries := []entry{
		{name: dir + "/", mode: 0o755},
		{name: dir + "/guardlock", mode: 0o755, data: binary},
		{name: dir + "/LICENSE", mode: 0o644, data: licence},
	}
	for _, shell := range []string{"bash", "fish", "zsh"} {
		entries = append(entries, entry{name: dir + "/completions/guardlock." + shell, mode: 0o644, data: r.completions[shell]})
	}
	if b.os == "linux" {
		unit, err := os.ReadFile(filepath.Join(r.root, "deploy/guardlock.service"))
		if err != nil {
			return err
		}
		entries = append(entries, entry{name: dir + "/guardlock.service", mode: 0o644, data: unit})
	}

	return r.create(dir+".tar.gz", func(w io.Writer) error { return writeTarGz(w, r.epoch, entries) })
}
