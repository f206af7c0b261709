package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"

	godigest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	spec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nobody is the user and group of the image.
const nobody = 65532

// layout is an OCI image layout while it is put together. Blobs are in the order in
// which they were added, each once.
type layout struct {
	blobs []entry
}

// image writes the image of all Linux targets as one archive of an OCI layout, which
// skopeo, podman and docker load. No daemon is needed.
func (r *release) image() error {
	var l layout
	index := spec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: spec.MediaTypeImageIndex}
	for _, b := range r.builds {
		if b.os != "linux" {
			continue
		}
		m, err := r.manifest(&l, b)
		if err != nil {
			return fmt.Errorf("image for %s/%s: %w", b.os, b.arch, err)
		}
		index.Manifests = append(index.Manifests, m)
	}
	if len(index.Manifests) == 0 {
		return nil
	}

	all, err := l.addJSON(spec.MediaTypeImageIndex, index)
	if err != nil {
		return err
	}
	all.Annotations = map[string]string{spec.AnnotationRefName: r.number()}

	top, err := json.Marshal(spec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: spec.MediaTypeImageIndex, Manifests: []spec.Descriptor{all}})
	if err != nil {
		return err
	}

	entries := []entry{
		{name: spec.ImageLayoutFile, mode: 0o644, data: []byte(`{"imageLayoutVersion":"` + spec.ImageLayoutVersion + `"}`)},
		{name: spec.ImageIndexFile, mode: 0o644, data: top},
		{name: "blobs/", mode: 0o755},
		{name: "blobs/sha256/", mode: 0o755},
	}
	entries = append(entries, l.blobs...)
	name := fmt.Sprintf("guardlock_%s_image.tar", r.number())
	return r.create(name, func(w io.Writer) error { return writeTar(w, r.epoch, entries) })
}

// manifest adds the image of one target, and returns what an index says of it.
func (r *release) manifest(l *layout, b build) (spec.Descriptor, error) {
	entries, err := r.rootFS(b)
	if err != nil {
		return spec.Descriptor{}, err
	}
	var plain, packed bytes.Buffer
	if err := writeTar(&plain, r.epoch, entries); err != nil {
		return spec.Descriptor{}, err
	}
	if err := writeTarGz(&packed, r.epoch, entries); err != nil {
		return spec.Descriptor{}, err
	}

	platform := spec.Platform{OS: b.os, Architecture: b.arch}
	config, err := l.addJSON(spec.MediaTypeImageConfig, spec.Image{
		Created:  &r.epoch,
		Platform: platform,
		Config:   r.imageConfig(),
		RootFS:   spec.RootFS{Type: "layers", DiffIDs: []godigest.Digest{godigest.FromBytes(plain.Bytes())}},
	})
	if err != nil {
		return spec.Descriptor{}, err
	}

	m, err := l.addJSON(spec.MediaTypeImageManifest, spec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: spec.MediaTypeImageManifest,
		Config:    config,
		Layers:    []spec.Descriptor{l.add(spec.MediaTypeImageLayerGzip, packed.Bytes())},
	})
	m.Platform = &platform
	return m, err
}

// imageConfig is how the image runs: without a shell, as a user who owns nothing but
// the data directory, from a root that may be read-only.
func (r *release) imageConfig() spec.ImageConfig {
	return spec.ImageConfig{
		User:       fmt.Sprintf("%d:%d", nobody, nobody),
		Env:        []string{"PATH=/"},
		Entrypoint: []string{"/guardlock"},
		Cmd:        []string{"serve", "--config", "/etc/guardlock/guardlock.yaml"},
		Volumes:    map[string]struct{}{"/var/lib/guardlock": {}},
		WorkingDir: "/",
		Labels: map[string]string{
			spec.AnnotationTitle:    "guardlock",
			spec.AnnotationVersion:  r.number(),
			spec.AnnotationRevision: r.revision,
			spec.AnnotationSource:   sourceURL,
			spec.AnnotationLicenses: "Apache-2.0",
		},
	}
}

// rootFS is all that the image holds. The certificates are Mozilla's, of a pinned
// module, so that they do not depend on the machine either.
func (r *release) rootFS(b build) ([]entry, error) {
	binary, err := os.ReadFile(b.path)
	if err != nil {
		return nil, err
	}
	licence, err := os.ReadFile(filepath.Join(r.root, "LICENSE"))
	if err != nil {
		return nil, err
	}

	return []entry{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, data: fmt.Appendf(nil, "root:x:0:\nguardlock:x:%d:\n", nobody)},
		{name: "etc/guardlock/", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, data: fmt.Appendf(nil, "root:x:0:0:root:/:/\nguardlock:x:%d:%d:guardlock:/var/lib/guardlock:/\n", nobody, nobody)},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: authorities()},
		{name: "guardlock", mode: 0o755, data: binary},
		{name: "LICENSE", mode: 0o644, data: licence},
		{name: "tmp/", mode: 0o1777},
		{name: "var/", mode: 0o755},
		{name: "var/lib/", mode: 0o755},
		{name: "var/lib/guardlock/", mode: 0o700, user: nobody},
	}, nil
}

// authorities are the certificates of the public authorities that hold without
// conditions: a PEM file could not say of one that it holds for some names only.
func authorities() []byte {
	var all bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			all.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return all.Bytes()
}

// add keeps a blob and describes it.
func (l *layout) add(mediaType string, data []byte) spec.Descriptor {
	sum := godigest.FromBytes(data)
	l.blobs = append(l.blobs, entry{name: "blobs/sha256/" + sum.Encoded(), mode: 0o644, data: data})
	return spec.Descriptor{MediaType: mediaType, Digest: sum, Size: int64(len(data))}
}

func (l *layout) addJSON(mediaType string, v any) (spec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return spec.Descriptor{}, err
	}
	return l.add(mediaType, data), nil
}
