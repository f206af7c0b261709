package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/signing"
)

const (
	sourceURL      = "https://github.com/guardlock/guardlock"
	buildType      = sourceURL + "/blob/main/docs/releasing.md"
	statementType  = "https://in-toto.io/Statement/v1"
	predicateType  = "https://slsa.dev/provenance/v1"
	bundleSuffix   = signing.BundleSuffix
	sumsBundle     = sumsName + bundleSuffix
	provenanceName = "provenance" + bundleSuffix
)

// statement is an in-toto statement with a SLSA provenance.
type statement struct {
	Type          string     `json:"_type"`
	Subject       []subject  `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     provenance `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type provenance struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string             `json:"buildType"`
	ExternalParameters   externalParameters `json:"externalParameters"`
	ResolvedDependencies []resource         `json:"resolvedDependencies"`
}

// externalParameters are what whoever makes the release chooses. With the dependencies
// they are all that its bytes depend on.
type externalParameters struct {
	Version string   `json:"version"`
	Targets []string `json:"targets"`
	Epoch   int64    `json:"sourceDateEpoch"`
}

type resource struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest,omitempty"`
}

type runDetails struct {
	Builder  builder  `json:"builder"`
	Metadata metadata `json:"metadata"`
}

type builder struct {
	ID string `json:"id"`
}

type metadata struct {
	StartedOn  time.Time `json:"startedOn"`
	FinishedOn time.Time `json:"finishedOn"`
}

// readKey reads the signing key, or nothing where none was named.
func readKey(path string) (*signing.PrivateKey, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return signing.ParsePrivateKey(raw, []byte(os.Getenv("GUARDLOCK_PASSWORD")))
}

// sign writes the two bundles: over the checksums, which name every file, and over the
// statement of how the files came about. What is written is verified at once.
func (r *release) sign(ctx context.Context, key *signing.PrivateKey) error {
	sums, err := os.ReadFile(filepath.Join(r.out, sumsName))
	if err != nil {
		return err
	}
	signed, err := signing.SignArtifact(ctx, sums, key)
	if err != nil {
		return err
	}

	payload, err := json.Marshal(r.statement(sums))
	if err != nil {
		return err
	}
	attested, err := signing.Attest(ctx, payload, key)
	if err != nil {
		return err
	}

	for name, data := range map[string][]byte{sumsBundle: signed, provenanceName: attested} {
		if err := r.create(name, func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
			return err
		}
	}

	_, err = verify(ctx, key.Public(), r.out)
	return err
}

// statement says how the files of the checksums were made. The builder is whoever holds
// the key: it claims no level of SLSA that a hosted builder would be needed for.
func (r *release) statement(sums []byte) statement {
	s := statement{Type: statementType, PredicateType: predicateType}
	for _, d := range listed(sums) {
		s.Subject = append(s.Subject, subject{Name: d.name, Digest: map[string]string{"sha256": d.sum}})
	}

	var targets []string
	for _, b := range r.builds {
		targets = append(targets, b.os+"/"+b.arch)
	}

	s.Predicate.BuildDefinition = buildDefinition{
		BuildType:          buildType,
		ExternalParameters: externalParameters{Version: r.version, Targets: targets, Epoch: r.epoch.Unix()},
		ResolvedDependencies: []resource{
			{URI: "git+" + sourceURL + "@refs/tags/" + r.version, Digest: map[string]string{"gitCommit": r.revision}},
			{URI: "pkg:golang/toolchain@" + runtime.Version()},
		},
	}
	s.Predicate.RunDetails = runDetails{
		Builder:  builder{ID: buildType + "#builder"},
		Metadata: metadata{StartedOn: r.began.UTC().Truncate(time.Second), FinishedOn: time.Now().UTC().Truncate(time.Second)},
	}

	return s
}

// listed reads checksums as sums writes them. Lines of another form are left out, and
// their files are then missing.
func listed(sums []byte) []digest {
	var all []digest
	for line := range strings.Lines(string(sums)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if ok && len(sum) == 64 && filepath.Base(name) == name {
			all = append(all, digest{name: name, sum: sum})
		}
	}
	return all
}

// printVerified is -verify.
func printVerified(ctx context.Context, publicFile, dir string) error {
	raw, err := os.ReadFile(publicFile)
	if err != nil {
		return err
	}
	key, err := signing.ParsePublicKey(raw)
	if err != nil {
		return err
	}

	s, err := verify(ctx, key, dir)
	if err != nil {
		return err
	}

	d := s.Predicate.BuildDefinition
	fmt.Printf("%d files are those of %s, signed by key %s\n", len(s.Subject), d.ExternalParameters.Version, key.ID())
	for _, r := range d.ResolvedDependencies {
		fmt.Println("made from", r.URI, r.Digest["gitCommit"])
	}
	return nil
}

// verify checks that a directory is one whole release which the owner of key signed:
// no file is missing, changed or added, and the provenance is about the same files.
func verify(ctx context.Context, key *signing.PublicKey, dir string) (statement, error) {
	sums, err := os.ReadFile(filepath.Join(dir, sumsName))
	if err != nil {
		return statement{}, err
	}
	signed, err := os.ReadFile(filepath.Join(dir, sumsBundle))
	if err != nil {
		return statement{}, err
	}
	if err := key.VerifyArtifact(ctx, sums, signed); err != nil {
		return statement{}, fmt.Errorf("%s: %w", sumsName, err)
	}

	have, err := digestsOf(dir)
	if err != nil {
		return statement{}, err
	}
	have = slices.DeleteFunc(have, func(d digest) bool { return slices.Contains([]string{sumsName, sumsBundle, provenanceName}, d.name) })
	want := listed(sums)
	if err := compare(have, want); err != nil {
		return statement{}, err
	}

	return verifyProvenance(ctx, key, dir, want)
}

// compare names the first file that is not as it should be. Both are in order of names.
func compare(have, want []digest) error {
	byName := map[string]string{}
	for _, d := range have {
		byName[d.name] = d.sum
	}
	for _, d := range want {
		switch sum, ok := byName[d.name]; {
		case !ok:
			return fmt.Errorf("%s is missing", d.name)
		case sum != d.sum:
			return fmt.Errorf("%s is not the file that was released", d.name)
		}
		delete(byName, d.name)
	}
	for name := range byName {
		return fmt.Errorf("%s is no file of this release", name)
	}
	return nil
}

// verifyProvenance checks that the statement is about the files of want.
func verifyProvenance(ctx context.Context, key *signing.PublicKey, dir string, want []digest) (statement, error) {
	attested, err := os.ReadFile(filepath.Join(dir, provenanceName))
	if err != nil {
		return statement{}, err
	}
	payload, err := key.VerifyAttestation(ctx, attested)
	if err != nil {
		return statement{}, fmt.Errorf("%s: %w", provenanceName, err)
	}

	var s statement
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return statement{}, fmt.Errorf("%s: %w", provenanceName, err)
	}
	if s.Type != statementType || s.PredicateType != predicateType {
		return statement{}, errors.New(provenanceName + ": it is no SLSA provenance")
	}

	var about []digest
	for _, sub := range s.Subject {
		about = append(about, digest{name: sub.Name, sum: sub.Digest["sha256"]})
	}
	if !slices.Equal(about, want) {
		return statement{}, errors.New(provenanceName + ": it is about other files")
	}

	return s, nil
}
