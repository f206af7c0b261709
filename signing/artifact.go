package signing

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// Refusals of what is signed beside modules: files of a release, and statements
// about them.
var (
	ErrFileChanged  = errors.New("the file is not the one that was signed: its bytes or its bundle were changed")
	ErrOtherKey     = errors.New("another key signed it: take the public key of whoever released it")
	ErrNotStatement = errors.New("not an in-toto statement: it must be JSON with a _type, a subject and a predicateType")
	ErrMeansModules = errors.New("a statement that approves a module is made by `guardlock module approve` alone")
	ErrSignatories  = errors.New("too few of the trust root's approvers signed the file: have others sign it")
)

// BundleSuffix ends the names of files that are Sigstore bundles.
const BundleSuffix = ".sigstore.json"

// SignatureOf is where a signer's signature of a file stands: beside it.
func SignatureOf(path, signer string) string { return path + "." + signer + BundleSuffix }

// SignArtifact makes a Sigstore bundle with a message signature over content,
// which may be any file: cosign verify-blob reads it.
func SignArtifact(ctx context.Context, content []byte, key *PrivateKey) ([]byte, error) {
	b, err := bundleOf(ctx, &sign.PlainData{Data: content}, key)
	if err != nil {
		return nil, fmt.Errorf("signing file: %w", err)
	}
	return b, nil
}

// VerifyArtifact checks that the owner of k signed content. Nothing else is asked:
// no time, no role and no revocation.
func (k *PublicKey) VerifyArtifact(ctx context.Context, content, bundleJSON []byte) error {
	b, err := readBundle(ctx, bundleJSON)
	if err != nil {
		return fmt.Errorf("verifying file: %w", err)
	}
	if b.GetMessageSignature() == nil {
		return fmt.Errorf("verifying file: %w", ErrNotSignature)
	}

	signer, err := k.signerOf(b)
	if err != nil {
		return fmt.Errorf("verifying file: %w", err)
	}
	if err := signer.check(b, sha256.Sum256(content)); err != nil {
		return fmt.Errorf("verifying file: %w", ErrFileChanged)
	}

	return nil
}

// Signatory is an approver whose signature over a file counts.
type Signatory struct {
	Identity Identity
	KeyID    string
	Bundle   []byte // as it was given
}

// VerifyFile checks that at least need distinct approvers of the trust root signed
// content, each with a bundle that SignArtifact makes, under a key that is valid at
// now and not revoked. It returns them by name, each once. A bundle that does not
// count is no error while enough others do; otherwise the error wraps ErrSignatories,
// and names each one and why. Content that is revoked by its digest is ErrRevoked.
func (t *TrustRoot) VerifyFile(ctx context.Context, content []byte, bundles [][]byte, need int, now time.Time) ([]Signatory, error) {
	digest := sha256.Sum256(content)
	switch {
	case t.revoked.digests[digest]:
		return nil, fmt.Errorf("verifying file %x: %w", digest, ErrRevoked)
	case len(bundles) > MaxApprovals:
		return nil, fmt.Errorf("verifying file: %d signatures, at most %d: %w", len(bundles), MaxApprovals, ErrTooLarge)
	}

	people := map[Identity]Signatory{}
	var refusals []error
	for i, raw := range bundles {
		s, err := t.signatory(ctx, digest, raw, t.moment(now))
		if _, again := people[s.Identity]; err == nil && again {
			err = fmt.Errorf("by %s: %w", s.Identity, ErrApproverTwice)
		}
		if err != nil {
			refusals = append(refusals, fmt.Errorf("signature %d: %w", i+1, err))
			continue
		}
		people[s.Identity] = s
	}

	if need = max(1, need); len(people) < need {
		err := fmt.Errorf("verifying file: %w: %d of %d needed%s", ErrSignatories, len(people), need, signedBy(people))
		return nil, errors.Join(append([]error{err}, refusals...)...)
	}

	var all []Signatory
	for _, who := range sortedKeys(people) {
		all = append(all, people[who])
	}
	return all, nil
}

// signedBy names those whose signatures count, where that are too few.
func signedBy(people map[Identity]Signatory) string {
	if len(people) == 0 {
		return ""
	}

	var names []string
	for _, who := range sortedKeys(people) {
		names = append(names, string(who))
	}
	return ", signed by " + strings.Join(names, ", ")
}

// signatory is the approver who signed the file with this digest.
func (t *TrustRoot) signatory(ctx context.Context, digest [32]byte, raw []byte, now *moment) (Signatory, error) {
	b, err := readBundle(ctx, raw)
	if err != nil {
		return Signatory{}, err
	}
	if b.GetMessageSignature() == nil {
		return Signatory{}, ErrNotSignature
	}

	key, err := t.keyOf(b, roleApprover, now)
	if err != nil {
		return Signatory{}, err
	}
	if key.check(b, digest) != nil {
		return Signatory{}, fmt.Errorf("by %s: %w", key.owner, ErrFileChanged)
	}

	return Signatory{key.owner, key.public.ID(), raw}, nil
}

// Attest makes a Sigstore bundle with an in-toto statement about something that is
// no module, as a release's provenance is. A statement that could be taken for an
// approval is refused.
func Attest(ctx context.Context, payload []byte, key *PrivateKey) ([]byte, error) {
	var s statement
	if err := decodeCanonical(payload, &s); err != nil || s.Type != statementV1 || len(s.Subject) == 0 || s.PredicateType == "" {
		return nil, fmt.Errorf("attesting: %w", ErrNotStatement)
	}
	if s.PredicateType == PredicateType {
		return nil, fmt.Errorf("attesting: %w", ErrMeansModules)
	}

	b, err := bundleOf(ctx, &sign.DSSEData{Data: payload, PayloadType: payloadType}, key)
	if err != nil {
		return nil, fmt.Errorf("attesting: %w", err)
	}
	return b, nil
}

// VerifyAttestation returns the statement that the owner of k signed. Whether it is
// about what the caller holds is for the caller to compare.
func (k *PublicKey) VerifyAttestation(ctx context.Context, bundleJSON []byte) ([]byte, error) {
	b, err := readBundle(ctx, bundleJSON)
	if err != nil {
		return nil, fmt.Errorf("verifying statement: %w", err)
	}

	envelope := b.GetDsseEnvelope()
	if envelope == nil || envelope.GetPayloadType() != payloadType {
		return nil, fmt.Errorf("verifying statement: %w", ErrNotStatement)
	}
	if n := len(envelope.GetSignatures()); n != 1 {
		return nil, fmt.Errorf("verifying statement: %d signatures: %w", n, ErrSignatureCount)
	}

	signer, err := k.signerOf(b)
	if err != nil {
		return nil, fmt.Errorf("verifying statement: %w", err)
	}
	if err := signer.checkEnvelope(b); err != nil {
		return nil, fmt.Errorf("verifying statement: %w", err)
	}

	return envelope.GetPayload(), nil
}

// signerOf is the key as the bundle's signer. What a certificate or another key
// signed is refused by its name, before any signature is looked at.
func (k *PublicKey) signerOf(b *bundle.Bundle) (*trustedKey, error) {
	pk := b.GetVerificationMaterial().GetPublicKey()
	switch {
	case pk == nil:
		return nil, ErrCertificate
	case pk.GetHint() != k.ID():
		return nil, fmt.Errorf("signed by key %s, have %s: %w", quoted(pk.GetHint()), k.ID(), ErrOtherKey)
	}

	return k.trusted("the key's owner", time.Time{}, time.Time{})
}
