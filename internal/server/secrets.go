package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

// loadKeys reads the secrets of keys by their names, and returns all problems
// at once.
func loadKeys(cfg *config.Config) (map[string][]byte, error) {
	keys := map[string][]byte{}
	var errs []error
	for i, k := range cfg.Keys {
		if k.File == "" {
			continue // reported where it is validated
		}
		secret, err := disk.ReadSecret(cfg.File(k.File))
		if err != nil {
			errs = append(errs, blame(k.File, fmt.Errorf("keys[%d].file: %w", i, err)))
			continue
		}

		keys[k.Name] = secret
	}

	return keys, errors.Join(errs...)
}

// loadOrMakeKey reads the audit key, or makes one at the first start. A log that
// is there already has a key, and a new one would not fit.
func loadOrMakeKey(path string, logIsThere bool) (key [32]byte, err error) {
	if key, err = disk.ReadKey(path); !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if logIsThere {
		return key, exit.WithHint(fmt.Errorf("the decision log is under a key that is not there: %w", err),
			"put %s back from a copy; where it is lost, give the gateway a new directory (audit.dir) and keep the old one to be read", path)
	}
	secret, err := makeKey(path)
	copy(key[:], secret)
	return key, err
}

// makeKey writes a new random key so that a crash leaves a whole one or none:
// half a key would be taken for another.
func makeKey(path string) ([]byte, error) {
	secret := make([]byte, disk.MinSecret)
	rand.Read(secret)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}

	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return nil, err
	}

	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(secret) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}

	return secret, os.Rename(f.Name(), path)
}

// serviceIdentity is how the gateway itself authenticates to the cluster: each
// new connection with the password that holds by then.
func (s *Server) serviceIdentity(c *config.SASL) (sasl.Mechanism, error) {
	password, err := watch(s, single(parsePassword), watchedFile{"password_file", s.cfg.File(c.PasswordFile), true})
	if err != nil {
		return nil, err
	}

	scramAuth := func(context.Context) (scram.Auth, error) {
		return scram.Auth{User: c.Username, Pass: *password.now()}, nil
	}
	switch c.Mechanism {
	case "PLAIN":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			return plain.Auth{User: c.Username, Pass: *password.now()}, nil
		}), nil
	case "SCRAM-SHA-256":
		return scram.Sha256(scramAuth), nil
	default:
		return scram.Sha512(scramAuth), nil
	}
}

func parsePassword(raw []byte) (*string, error) {
	password := strings.TrimRight(string(raw), "\r\n")
	if password == "" {
		return nil, errors.New("it holds no password")
	}
	return &password, nil
}
