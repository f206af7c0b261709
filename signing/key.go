package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// PublicKey is a P-256 verification key with its ID. It is immutable.
type PublicKey struct {
	key *ecdsa.PublicKey
	id  string
}

// PrivateKey is a P-256 signing key with its public half. It is immutable.
type PrivateKey struct {
	key    *ecdsa.PrivateKey
	public *PublicKey
}

// GenerateKey makes a new key from random, which must be a source that is fit
// for keys, as crypto/rand.Reader is.
func GenerateKey(random io.Reader) (*PrivateKey, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, fmt.Errorf("generating key: %w", err)
	}
	return newPrivateKey(k)
}

// ParsePublicKey reads a PKIX "PUBLIC KEY" PEM block, as cosign writes it. It
// returns ErrKey for other kinds of keys, and for anything beside the one
// block.
func ParsePublicKey(pemBytes []byte) (*PublicKey, error) {
	block, rest := pem.Decode(pemBytes)
	if block == nil || len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("parsing public key: not exactly one PEM block: %w", ErrKey)
	}

	k, err := cryptoutils.UnmarshalPEMToPublicKey(pemBytes)
	if err != nil {
		return nil, fmt.Errorf("parsing public key: %w", err)
	}

	ec, ok := k.(*ecdsa.PublicKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, fmt.Errorf("parsing public key: %w", ErrKey)
	}

	return newPublicKey(ec)
}

// ParsePrivateKey reads a private key PEM: encrypted as cosign writes it, or
// plain PKCS #8 or SEC 1. An empty password is a password.
func ParsePrivateKey(pemBytes, password []byte) (*PrivateKey, error) {
	k, err := cryptoutils.UnmarshalPEMToPrivateKey(pemBytes, passFunc(password))
	if err != nil {
		return nil, fmt.Errorf("parsing private key (is the password right?): %w", err)
	}

	ec, ok := k.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, fmt.Errorf("parsing private key: %w", ErrKey)
	}
	return newPrivateKey(ec)
}

// passFunc never hands on a nil password, since cryptoutils takes nil to mean
// "not encrypted" and then fails with an ASN.1 error.
func passFunc(password []byte) cryptoutils.PassFunc {
	return func(bool) ([]byte, error) { return append([]byte{}, password...), nil }
}

func newPublicKey(k *ecdsa.PublicKey) (*PublicKey, error) {
	der, err := cryptoutils.MarshalPublicKeyToDER(k)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return &PublicKey{key: k, id: base64.StdEncoding.EncodeToString(sum[:])}, nil
}

func newPrivateKey(k *ecdsa.PrivateKey) (*PrivateKey, error) {
	pub, err := newPublicKey(&k.PublicKey)
	if err != nil {
		return nil, err
	}
	return &PrivateKey{key: k, public: pub}, nil
}

// ID is the key's name in bundles and in revocations: the SHA-256 of its PKIX
// DER form, in base64, as cosign has it.
func (k *PublicKey) ID() string { return k.id }

// MarshalPEM encodes the key as a PKIX "PUBLIC KEY" block, which ParsePublicKey
// and cosign read.
func (k *PublicKey) MarshalPEM() ([]byte, error) {
	return cryptoutils.MarshalPublicKeyToPEM(k.key)
}

// Public returns the verification key that belongs to the signing key.
func (k *PrivateKey) Public() *PublicKey { return k.public }

// ID is the ID of the public key, by which bundles name who signed.
func (k *PrivateKey) ID() string { return k.public.id }

// MarshalPEM encodes the key, encrypted with password, as cosign does. The
// password may be empty; the file is then only as safe as its mode.
func (k *PrivateKey) MarshalPEM(password []byte) ([]byte, error) {
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(k.key, passFunc(password))
	if err != nil {
		return nil, fmt.Errorf("encrypting private key: %w", err)
	}
	return cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der), nil
}

// keypair shows a PrivateKey to sigstore-go as its Keypair, which signs with
// the given source of random. Its methods are those that the interface wants.
type keypair struct {
	key    *PrivateKey
	random io.Reader
}

var _ sign.Keypair = keypair{}

func (p keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (p keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
}

func (p keypair) GetHint() []byte                { return []byte(p.key.ID()) }
func (p keypair) GetKeyAlgorithm() string        { return "ECDSA" }
func (p keypair) GetPublicKey() crypto.PublicKey { return p.key.public.key }

func (p keypair) GetPublicKeyPem() (string, error) {
	b, err := p.key.public.MarshalPEM()
	return string(b), err
}

// SignData returns the ECDSA signature over the SHA-256 of data in ASN.1 form,
// and the digest that was signed.
func (p keypair) SignData(_ context.Context, data []byte) ([]byte, []byte, error) {
	sum := sha256.Sum256(data)
	sig, err := ecdsa.SignASN1(p.random, p.key.key, sum[:])
	return sig, sum[:], err
}
