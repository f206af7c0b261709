package signing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
)

// VerifyModule checks the author's signature over wasm as of now, and returns
// the author. Errors wrap the sentinel that says what is wrong.
func (t *TrustRoot) VerifyModule(ctx context.Context, wasm, bundleJSON []byte) (Identity, error) {
	return t.VerifyModuleAt(ctx, wasm, bundleJSON, time.Now())
}

// VerifyModuleAt is VerifyModule with a given idea of the present, against which
// the key's validity is checked.
func (t *TrustRoot) VerifyModuleAt(ctx context.Context, wasm, bundleJSON []byte, now time.Time) (Identity, error) {
	if len(wasm) > MaxModuleBytes {
		return "", fmt.Errorf("verifying module: %d bytes, at most %d: %w", len(wasm), MaxModuleBytes, ErrTooLarge)
	}
	author, err := t.verifyDigest(ctx, sha256.Sum256(wasm), bundleJSON, t.moment(now))
	if err != nil {
		return "", fmt.Errorf("verifying module: %w", err)
	}

	return author.owner, nil
}

// verifyDigest checks the author's signature over the module with this digest, and
// returns the key.
func (t *TrustRoot) verifyDigest(ctx context.Context, digest [32]byte, bundleJSON []byte, now *moment) (*trustedKey, error) {
	if len(bytes.TrimSpace(bundleJSON)) == 0 {
		return nil, ErrUnsigned
	}
	if t.revoked.digests[digest] {
		return nil, fmt.Errorf("module %x: %w", digest, ErrRevoked)
	}

	b, err := readBundle(ctx, bundleJSON)
	if err != nil {
		return nil, err
	}

	sig := b.GetMessageSignature()
	if sig == nil {
		return nil, ErrNotSignature
	}

	key, err := t.keyOf(b, roleAuthor, now)
	if err != nil {
		return nil, err
	}

	// The digest in the bundle is only a hint and proves nothing; it serves to
	// tell a changed module from a forged signature.
	hint := sig.GetMessageDigest()
	if hint.GetAlgorithm() != protocommon.HashAlgorithm_SHA2_256 || !bytes.Equal(hint.GetDigest(), digest[:]) {
		return nil, fmt.Errorf("have sha256 %x: %w", digest, ErrDigestMismatch)
	}
	if err := key.check(b, digest); err != nil {
		return nil, err
	}

	return key, nil
}

// VerifyApproval checks one approval of the module with the given digest: the
// signature and its key, the statement, and the times against now. Whether
// the configuration is the approved one, and whether enough people approved, is
// for VerifyPackage.
func (t *TrustRoot) VerifyApproval(ctx context.Context, moduleDigest [32]byte, bundleJSON []byte, now time.Time) (Approval, error) {
	a, err := t.verifyApproval(ctx, moduleDigest, bundleJSON, t.moment(now))
	if err != nil {
		return Approval{}, fmt.Errorf("verifying approval: %w", err)
	}
	return a.Approval, nil
}

// verifyApproval checks the signature first, and reads the payload only then.
// It returns the approval also beside an error of stillHolds.
func (t *TrustRoot) verifyApproval(ctx context.Context, digest [32]byte, bundleJSON []byte, now *moment) (Counted, error) {
	b, err := readBundle(ctx, bundleJSON)
	if err != nil {
		return Counted{}, err
	}

	envelope := b.GetDsseEnvelope()
	if envelope == nil || envelope.GetPayloadType() != payloadType {
		return Counted{}, ErrNotApproval
	}
	if n := len(envelope.GetSignatures()); n != 1 {
		return Counted{}, fmt.Errorf("%d signatures: %w", n, ErrSignatureCount)
	}

	key, err := t.keyOf(b, roleApprover, now)
	if err != nil {
		return Counted{}, err
	}
	if err := key.checkEnvelope(b); err != nil {
		return Counted{}, err
	}

	// From here on the payload is the word of the key's owner, and of nobody
	// else.
	a, err := decodeStatement(envelope.GetPayload())
	if err != nil {
		return Counted{}, err
	}
	if a.ModuleDigest != digest {
		return Counted{}, fmt.Errorf("approved sha256 %x, have %x: %w", a.ModuleDigest, digest, ErrDigestMismatch)
	}
	if a.Approver != "" && a.Approver != key.owner {
		return Counted{}, fmt.Errorf("names %s, signed by %s: %w", a.Approver, key.owner, ErrApproverClaim)
	}

	a.Approver = key.owner
	return key.counted(a), t.stillHolds(a, now)
}

// stillHolds checks what can change after an approval was made: revocations,
// the time, and which gateway asks.
func (t *TrustRoot) stillHolds(a Approval, now *moment) error {
	switch {
	case t.revoked.approvals[a.ID]:
		return fmt.Errorf("approval %s by %s: %w", a.ID, a.Approver, ErrRevoked)
	case t.revoked.digests[a.ModuleDigest]:
		return fmt.Errorf("module %x: %w", a.ModuleDigest, ErrRevoked)
	case t.revoked.digests[a.ConfigDigest]:
		return fmt.Errorf("configuration %x: %w", a.ConfigDigest, ErrRevoked)
	case !now.began(a.NotBefore):
		return fmt.Errorf("approval by %s starts %s: %w", a.Approver, a.NotBefore.UTC().Format(time.RFC3339), ErrNotYetValid)
	case now.reached(a.NotAfter):
		return fmt.Errorf("approval by %s ended %s: %w", a.Approver, a.NotAfter.UTC().Format(time.RFC3339), ErrExpired)
	}
	return t.gateway.addressed(a)
}

// readBundle parses a bundle of bounded size. Unknown fields are errors, so a
// later bundle version fails closed.
func readBundle(ctx context.Context, raw []byte) (*bundle.Bundle, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(raw) > MaxBundleBytes {
		return nil, fmt.Errorf("bundle of %d bytes, at most %d: %w", len(raw), MaxBundleBytes, ErrTooLarge)
	}

	pb := new(protobundle.Bundle)
	if err := protojson.Unmarshal(raw, pb); err != nil {
		// The parser's own words quote the input, which is hostile, so that
		// they are not repeated.
		return nil, ErrMalformed
	}

	b, err := bundle.NewBundle(pb)
	if err != nil {
		// What it says may repeat any amount of the bundle, which is hostile,
		// so that it is shortened.
		return nil, fmt.Errorf("%w: %s", ErrMalformed, quoted(err.Error()))
	}

	return b, nil
}

// keyOf finds the key that a bundle says it was signed with. The hint only
// selects: the signature must still verify under that key.
func (t *TrustRoot) keyOf(b *bundle.Bundle, r role, now *moment) (*trustedKey, error) {
	pk := b.GetVerificationMaterial().GetPublicKey()
	if pk == nil {
		return nil, ErrCertificate
	}

	hint := pk.GetHint()
	if t.revoked.keys[hint] {
		return nil, fmt.Errorf("key %s: %w", hint, ErrRevoked)
	}

	key, ok := t.keys[r][hint]
	if !ok {
		if other, ok := t.keys[r.other()][hint]; ok {
			return nil, fmt.Errorf("key %s of %s: %w", hint, other.owner, ErrWrongRole)
		}
		return nil, fmt.Errorf("key %s: %w", quoted(hint), ErrWrongKey)
	}

	if !key.validAt(now) {
		return nil, fmt.Errorf("key %s of %s: %w", hint, key.owner, ErrKeyExpired)
	}
	return key, nil
}

// check verifies a message signature over the artifact with this digest.
// No time is checked: bundles here carry no timestamps, so keyOf has done that.
func (k *trustedKey) check(b *bundle.Bundle, digest [32]byte) error {
	policy := verify.NewPolicy(verify.WithArtifactDigest("sha256", digest[:]), verify.WithKey())
	if _, err := k.verifier.Verify(b, policy); err != nil {
		return fmt.Errorf("key %s of %s: %w", k.public.ID(), k.owner, ErrBadSignature)
	}
	return nil
}

// checkEnvelope verifies a DSSE signature. The subject is compared by the
// caller: sigstore-go accepts a statement in which any one subject matches.
func (k *trustedKey) checkEnvelope(b *bundle.Bundle) error {
	sig, err := b.SignatureContent()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}

	content, err := b.VerificationContent()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := verify.VerifySignature(sig, content, k.material); err != nil {
		return fmt.Errorf("key %s of %s: %w", k.public.ID(), k.owner, ErrBadSignature)
	}

	return nil
}
