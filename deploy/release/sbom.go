package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// billOfMaterials writes what one binary was made of, as CycloneDX. It comes from what
// the Go tool recorded in the binary, so that nothing that is not in it is listed.
func (r *release) billOfMaterials(b build) error {
	info, err := buildinfo.ReadFile(b.path)
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(b.path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(binary)

	self := r.program(b, info.Main.Path, sum)
	components := []cdx.Component{standardLibrary(info.GoVersion)}
	for _, m := range info.Deps {
		components = append(components, component(m))
	}

	var refs []string
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}

	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: r.epoch.Format(time.RFC3339), Component: &self}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: self.BOMRef, Dependencies: &refs}}
	// One content has one number, so that the same build gives the same file.
	bom.SerialNumber = uuidOf(sum)

	name := fmt.Sprintf("guardlock_%s_%s_%s.cdx.json", r.number(), b.os, b.arch)
	return r.create(name, func(w io.Writer) error {
		return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6)
	})
}

// program is the binary itself.
func (r *release) program(b build, path string, sum [32]byte) cdx.Component {
	url := "pkg:golang/" + path + "@" + r.version + "?goos=" + b.os + "&goarch=" + b.arch
	return cdx.Component{
		BOMRef:     url,
		Type:       cdx.ComponentTypeApplication,
		Name:       path,
		Version:    r.version,
		PackageURL: url,
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		Licenses:   &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
		ExternalReferences: &[]cdx.ExternalReference{
			{Type: cdx.ERTypeVCS, URL: sourceURL, Comment: "commit " + r.revision},
		},
	}
}

// standardLibrary is part of every binary, though it is no module.
func standardLibrary(goVersion string) cdx.Component {
	version := strings.TrimPrefix(goVersion, "go")
	return cdx.Component{
		BOMRef:     "pkg:golang/std@" + version,
		Type:       cdx.ComponentTypeLibrary,
		Name:       "std",
		Version:    version,
		PackageURL: "pkg:golang/std@" + version,
		Licenses:   &cdx.Licenses{{License: &cdx.License{ID: "BSD-3-Clause"}}},
	}
}

// component is a module that is in the binary. go.sum's digest is of a list of files
// and not of one, so that it is a property and not a hash of CycloneDX.
func component(m *debug.Module) cdx.Component {
	if m.Replace != nil {
		m = m.Replace
	}
	url := "pkg:golang/" + m.Path + "@" + m.Version
	return cdx.Component{
		BOMRef:     url,
		Type:       cdx.ComponentTypeLibrary,
		Name:       m.Path,
		Version:    m.Version,
		Scope:      cdx.ScopeRequired,
		PackageURL: url,
		Properties: &[]cdx.Property{{Name: "golang:go.sum", Value: m.Sum}},
	}
}

// uuidOf makes a version 8 UUID of the first bytes of a digest.
func uuidOf(sum [32]byte) string {
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
