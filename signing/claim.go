package signing

import (
	"context"
	"fmt"
)

// ReadUnverified returns what a bundle claims to approve. Nothing of it was verified,
// so that it decides nothing: it is for telling a person what lies there.
func ReadUnverified(bundleJSON []byte) (Approval, error) {
	b, err := readBundle(context.Background(), bundleJSON)
	if err != nil {
		return Approval{}, fmt.Errorf("reading approval: %w", err)
	}

	envelope := b.GetDsseEnvelope()
	if envelope == nil || envelope.GetPayloadType() != payloadType {
		return Approval{}, fmt.Errorf("reading approval: %w", ErrNotApproval)
	}

	a, err := decodeStatement(envelope.GetPayload())
	if err != nil {
		return Approval{}, fmt.Errorf("reading approval: %w", err)
	}

	return a, nil
}
