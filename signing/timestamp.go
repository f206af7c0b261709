package signing

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/sigstore/timestamp-authority/v2/pkg/verification"
)

// ErrAuthorities means that a file holds no root certificates.
var ErrAuthorities = errors.New("no certificates of a time-stamping authority")

// TimestampAuthorities are those whose word on the time counts (RFC 3161): by their root
// certificates. It is safe for concurrent use.
type TimestampAuthorities struct {
	roots         []*x509.Certificate
	intermediates []*x509.Certificate
}

// ParseTimestampAuthorities reads certificates in PEM. Those that signed themselves are trusted,
// the others only lead to them. It returns ErrAuthorities where there are none.
func ParseTimestampAuthorities(text []byte) (*TimestampAuthorities, error) {
	a := new(TimestampAuthorities)
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: a block of kind %.40q is among them", ErrAuthorities, block.Type)
		}

		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAuthorities, err)
		}
		if bytes.Equal(c.RawIssuer, c.RawSubject) && c.IsCA {
			a.roots = append(a.roots, c)
		} else {
			a.intermediates = append(a.intermediates, c)
		}
	}

	if len(bytes.TrimSpace(text)) > 0 {
		return nil, fmt.Errorf("%w: text behind the last certificate", ErrAuthorities)
	}
	if len(a.roots) == 0 {
		return nil, fmt.Errorf("%w: none is a root, which signed itself", ErrAuthorities)
	}
	return a, nil
}

// Check verifies an authority's answer (TimeStampResp in DER) about a text, and returns
// the subject of its certificate, and its time. Nonce is that of the question; nil where
// that is past.
func (a *TimestampAuthorities) Check(text, answer []byte, nonce *big.Int) (who string, at time.Time, err error) {
	ts, err := verification.VerifyTimestampResponse(answer, bytes.NewReader(text), verification.VerifyOpts{
		Roots:         a.roots,
		Intermediates: a.intermediates,
		Nonce:         nonce,
	})
	if err != nil {
		return "", time.Time{}, err
	}

	// Whose certificate it was is asked of the signature: others may lie beside it.
	signed, err := pkcs7.Parse(ts.RawToken)
	if err != nil {
		return "", time.Time{}, err
	}
	return signed.GetOnlySigner().Subject.String(), ts.Time.UTC(), nil
}
