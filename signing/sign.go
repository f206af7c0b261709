package signing

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// payloadType is the DSSE payload type of every in-toto statement. A signature
// covers it beside the payload.
const payloadType = "application/vnd.in-toto+json"

// SignModule makes the author's signature over wasm: a Sigstore bundle in JSON
// with a message signature, which cosign verifies too.
func SignModule(ctx context.Context, wasm []byte, key *PrivateKey) ([]byte, error) {
	if len(wasm) > MaxModuleBytes {
		return nil, fmt.Errorf("signing module: %d bytes, at most %d: %w", len(wasm), MaxModuleBytes, ErrTooLarge)
	}
	b, err := bundleOf(ctx, &sign.PlainData{Data: wasm}, key)
	if err != nil {
		return nil, fmt.Errorf("signing module: %w", err)
	}

	return b, nil
}

// Approve makes an approval: a Sigstore bundle with an in-toto statement that
// carries the grant. It refuses what VerifyApproval would refuse, with
// ErrInvalidApproval and every problem named.
func Approve(ctx context.Context, a Approval, key *PrivateKey) ([]byte, error) {
	if problems := a.problems(); len(problems) != 0 {
		return nil, fmt.Errorf("approving module: %w: %w", ErrInvalidApproval, problems)
	}
	payload, err := encodeStatement(a)
	if err != nil {
		return nil, fmt.Errorf("approving module: %w", err)
	}

	b, err := bundleOf(ctx, &sign.DSSEData{Data: payload, PayloadType: payloadType}, key)
	if err != nil {
		return nil, fmt.Errorf("approving module: %w", err)
	}
	return b, nil
}

// bundleOf signs content with key and encodes the bundle as JSON, in one form
// for one content.
func bundleOf(ctx context.Context, content sign.Content, key *PrivateKey) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := sign.Bundle(content, keypair{key, rand.Reader}, sign.BundleOptions{Context: ctx})
	if err != nil {
		return nil, err
	}

	raw, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encoding bundle: %w", err)
	}

	// protojson varies its white space on purpose; a file that is made again
	// should be the same.
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return nil, fmt.Errorf("encoding bundle: %w", err)
	}

	return out.Bytes(), nil
}
