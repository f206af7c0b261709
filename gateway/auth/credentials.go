package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Record is what is kept of one password: RFC 5802's stored form. A password
// cannot be had from it but by guessing, at Iterations hashes a guess.
type Record struct {
	Mechanism  string      `yaml:"mechanism"`
	Iterations int         `yaml:"iterations"`
	Salt       base64Bytes `yaml:"salt"`
	StoredKey  base64Bytes `yaml:"stored_key"`
	ServerKey  base64Bytes `yaml:"server_key"`
}

type base64Bytes []byte

func (b base64Bytes) MarshalYAML() (any, error) {
	return base64.StdEncoding.EncodeToString(b), nil
}

func (b *base64Bytes) UnmarshalYAML(n *yaml.Node) error {
	raw, err := base64.StdEncoding.DecodeString(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: not base64", n.Line)
	}
	*b = raw
	return nil
}

// Bounds of a record. Clients compute the iterations too, on every connection;
// Kafka's own tools stop at 16384.
const (
	MinIterations     = 4096
	DefaultIterations = 16384
	MaxIterations     = 1 << 20
	saltSize          = 16
	minSalt           = 8
)

// credentialFile is the file as it is written by `guardlock user`, in YAML.
type credentialFile struct {
	// DecoyKey makes up the salts of users that do not exist. It must survive
	// restarts, or the salts that change tell who exists.
	DecoyKey base64Bytes `yaml:"decoy_key"`
	// Users maps names to their records, of which there is one for each SCRAM
	// mechanism.
	Users map[string][]Record `yaml:"users"`
}

// Credentials is one immutable state of the credentials file. Its changing
// methods return a new one.
type Credentials struct {
	file   credentialFile
	names  []string            // sorted
	stamps map[string][32]byte // by name
}

// NewCredentials makes an empty set with a fresh decoy key.
func NewCredentials() *Credentials {
	key := make([]byte, 32)
	rand.Read(key)
	return newCredentials(credentialFile{DecoyKey: key, Users: map[string][]Record{}})
}

func newCredentials(file credentialFile) *Credentials {
	c := &Credentials{file: file, names: slices.Sorted(maps.Keys(file.Users)), stamps: make(map[string][32]byte, len(file.Users))}
	for name, records := range file.Users {
		c.stamps[name] = stampOf(records)
	}
	return c
}

// ParseCredentials reads a credentials file, strictly: unknown keys are errors.
// It returns every problem of the records at once.
func ParseCredentials(raw []byte) (*Credentials, error) {
	var file credentialFile
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)

	if err := dec.Decode(&file); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("reading credentials: the file is empty")
		}
		return nil, fmt.Errorf("reading credentials: %w", err)
	}

	c := newCredentials(file)
	var errs []error
	if len(c.file.DecoyKey) < 16 {
		errs = append(errs, errors.New("decoy_key: needs 16 bytes or more, in base64"))
	}

	for _, name := range c.names {
		if err := checkName(name); err != nil {
			errs = append(errs, fmt.Errorf("users: %q is not a user name", name))
		}
		errs = append(errs, checkRecords(name, c.file.Users[name])...)
	}

	return c, errors.Join(errs...)
}

// checkRecords refuses records that no password could be checked with, or that
// would cost a login too little or too much.
func checkRecords(name string, records []Record) (errs []error) {
	seen := map[string]bool{}
	for i, r := range records {
		size := hashOf(r.Mechanism)
		switch {
		case size == nil || seen[r.Mechanism]:
			errs = append(errs, fmt.Errorf("users.%s[%d]: mechanism must be %s or %s, each once", name, i, ScramSHA256, ScramSHA512))
		case r.Iterations < MinIterations || r.Iterations > MaxIterations:
			errs = append(errs, fmt.Errorf("users.%s[%d]: iterations must be %d to %d", name, i, MinIterations, MaxIterations))
		case len(r.Salt) < minSalt || len(r.StoredKey) != size().Size() || len(r.ServerKey) != size().Size():
			errs = append(errs, fmt.Errorf("users.%s[%d]: salt, stored_key or server_key has the wrong length", name, i))
		}

		seen[r.Mechanism] = true
	}

	if len(records) == 0 {
		errs = append(errs, fmt.Errorf("users.%s: has no records", name))
	}
	return errs
}

// Marshal writes the file in YAML, with the decoy key and a line that says what
// it is.
func (c *Credentials) Marshal() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Who may connect. `guardlock user` keeps this file; it holds salted hashes, no passwords.\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)

	if err := errors.Join(enc.Encode(c.file), enc.Close()); err != nil {
		return nil, fmt.Errorf("writing credentials: %w", err)
	}
	return b.Bytes(), nil
}

// Names lists the users, sorted, in a list that the caller may change.
func (c *Credentials) Names() []string { return slices.Clone(c.names) }

// Records returns what is kept of one user, one record a mechanism. It is empty
// for a user who does not exist.
func (c *Credentials) Records(name string) []Record { return slices.Clone(c.file.Users[name]) }

// With returns the credentials with a user added, or with all records of that
// user replaced. It refuses names and records that a file could not hold.
func (c *Credentials) With(name string, records []Record) (*Credentials, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("%q is not a user name: 1 to %d bytes without control characters", name, maxName)
	}
	if err := errors.Join(checkRecords(name, records)...); err != nil {
		return nil, err
	}

	users := maps.Clone(c.file.Users)
	if users == nil {
		users = map[string][]Record{}
	}

	users[name] = records
	return c.replaced(users), nil
}

// Without returns the credentials without a user. Removing one who is not there
// changes nothing.
func (c *Credentials) Without(name string) *Credentials {
	users := maps.Clone(c.file.Users)
	delete(users, name)
	return c.replaced(users)
}

func (c *Credentials) replaced(users map[string][]Record) *Credentials {
	return newCredentials(credentialFile{DecoyKey: c.file.DecoyKey, Users: users})
}

// NewRecord hashes a password under a fresh salt. Like Kafka, and unlike RFC
// 5802, it takes the password's bytes as they are (no SASLprep).
func NewRecord(mechanism string, password []byte, iterations int) (Record, error) {
	if hashOf(mechanism) == nil {
		return Record{}, fmt.Errorf("hashing a password for %s: %w", mechanism, ErrMechanism)
	}
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return derive(mechanism, password, salt, iterations)
}

// derive makes the stored form of a password by RFC 5802 §3: StoredKey and
// ServerKey, from the salted password.
func derive(mechanism string, password, salt []byte, iterations int) (Record, error) {
	h := hashOf(mechanism)
	salted, err := pbkdf2.Key(h, string(password), salt, iterations, h().Size())
	if err != nil {
		return Record{}, fmt.Errorf("hashing a password: %w", err)
	}

	stored := h()
	stored.Write(mac(h, salted, "Client Key"))
	return Record{
		Mechanism:  mechanism,
		Iterations: iterations,
		Salt:       salt,
		StoredKey:  stored.Sum(nil),
		ServerKey:  mac(h, salted, "Server Key"),
	}, nil
}

func mac(h func() hash.Hash, key []byte, parts ...string) []byte {
	m := hmac.New(h, key)
	for _, p := range parts {
		m.Write([]byte(p))
	}
	return m.Sum(nil)
}

// hashOf returns the hash of a SCRAM mechanism, and nil for what is not SCRAM.
func hashOf(mechanism string) func() hash.Hash {
	switch mechanism {
	case ScramSHA256:
		return sha256.New
	case ScramSHA512:
		return sha512.New
	}
	return nil
}

// record returns a user's record. For one who has none it makes up a record
// that looks like the others', the same each time, that no password fits.
func (c *Credentials) record(mechanism, name string) (r Record, known bool) {
	for _, r := range c.file.Users[name] {
		if r.Mechanism == mechanism {
			return r, true
		}
	}
	return c.decoy(mechanism, name), false
}

func (c *Credentials) decoy(mechanism, name string) Record {
	seed := mac(sha256.New, c.file.DecoyKey, mechanism, "\x00", name)
	r := c.example(mechanism, binary.BigEndian.Uint64(seed))
	h := hashOf(mechanism)
	r.Salt = mac(h, seed, "salt")[:min(len(r.Salt), h().Size())]
	r.StoredKey, r.ServerKey = mac(h, seed, "stored"), mac(h, seed, "server")
	return r
}

// example picks a real record to take iterations and salt length from, so that
// a made-up record does not stand out.
func (c *Credentials) example(mechanism string, n uint64) Record {
	for i := range c.names {
		at := (int(n%uint64(len(c.names))) + i) % len(c.names)
		for _, r := range c.file.Users[c.names[at]] {
			if r.Mechanism == mechanism {
				return r
			}
		}
	}
	return Record{Mechanism: mechanism, Iterations: DefaultIterations, Salt: make([]byte, saltSize)}
}

// checkPassword checks a PLAIN password, at the same cost whether or not the
// user exists, so that the time of an answer tells nothing.
func (c *Credentials) checkPassword(name string, password []byte) bool {
	r, known := c.record(c.plainMechanism(name), name)
	got, err := derive(r.Mechanism, password, r.Salt, r.Iterations)
	return err == nil && hmac.Equal(got.StoredKey, r.StoredKey) && known
}

// plainMechanism is the record that PLAIN is checked against: the strongest
// that the user has, or that users have.
func (c *Credentials) plainMechanism(name string) string {
	records := c.file.Users[name]
	if len(records) == 0 && len(c.names) > 0 {
		seed := mac(sha256.New, c.file.DecoyKey, name)
		records = c.file.Users[c.names[binary.BigEndian.Uint64(seed)%uint64(len(c.names))]]
	}

	for _, r := range records {
		if r.Mechanism == ScramSHA512 {
			return ScramSHA512
		}
	}

	return ScramSHA256
}

// stamp changes whenever anything that is kept of a user changes. It is asked
// for on every request.
func (c *Credentials) stamp(name string) (stamp [32]byte, known bool) {
	stamp, known = c.stamps[name]
	return stamp, known
}

func stampOf(records []Record) (stamp [32]byte) {
	h := sha256.New()
	for _, r := range records {
		fmt.Fprintf(h, "%s %d %x %x\n", r.Mechanism, r.Iterations, r.Salt, r.StoredKey)
	}
	h.Sum(stamp[:0])
	return stamp
}
