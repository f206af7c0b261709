package evidence

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode"

	"golang.org/x/mod/sumdb/tlog"
)

// Format is what a file of evidence says it is.
const Format = "guardlock evidence v1"

// MaxFileBytes bounds a file of evidence for one record. What an admission says is
// most of it.
const MaxFileBytes = 8 << 20

// ErrFile means that bytes are no file of evidence, or not the one way to write it.
var ErrFile = errors.New("not a file of evidence")

// File proves what became of one record: a checkpoint of a log, the entries that
// tell it, and their places in the tree. It is made by whoever has the log, and
// verified by whoever has the log's key.
type File struct {
	Format     string  `json:"format"`
	Record     Record  `json:"record"`
	Checkpoint string  `json:"checkpoint"` // a signed note
	Entries    []Entry `json:"entries"`
	// Approvals are Sigstore bundles that admissions among the entries name by their
	// ids, as cosign writes them. Base64.
	Approvals [][]byte `json:"approvals,omitempty"`
}

// Record is a record's place.
type Record struct {
	Cluster   string `json:"cluster"`
	Topic     string `json:"topic"`
	Partition uint32 `json:"partition"`
	Offset    int64  `json:"offset"`
}

// Entry is a leaf, where it stands in the tree, the proof of that, and the names
// behind its digests, as far as they are told.
type Entry struct {
	Index int64       `json:"index"`
	Leaf  []byte      `json:"leaf"` // base64
	Path  []tlog.Hash `json:"path"` // base64
	Names []Opened    `json:"names,omitempty"`
}

// Opened is a name with the salt that its digest was made with. A name that is not
// printable ASCII stands in Bytes instead of Value.
type Opened struct {
	Salt  string `json:"salt"` // hexadecimal
	Value string `json:"value,omitempty"`
	Bytes []byte `json:"bytes,omitempty"`
}

// Open is the Opened of a name.
func Open(salt Salt, value string) Opened {
	o := Opened{Salt: hex.EncodeToString(salt[:])}
	if printable(value) {
		o.Value = value
	} else {
		o.Bytes = []byte(value)
	}
	return o
}

func printable(s string) bool {
	for _, r := range s {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// name is the digest and the value.
func (o *Opened) name() (Name, string, error) {
	salt, err := hex.DecodeString(o.Salt)
	if err != nil || len(salt) != len(Salt{}) {
		return Name{}, "", fmt.Errorf("%w: salt %q", ErrFile, o.Salt)
	}

	value := o.Value + string(o.Bytes)
	if again := Open(Salt(salt), value); again.Salt != o.Salt || again.Value != o.Value {
		return Name{}, "", fmt.Errorf("%w: a name is not written as the program writes it", ErrFile)
	}
	return NameOf(Salt(salt), value), value, nil
}

// Encode gives the one way to write the file: JSON with the fields in their order, a
// space of indentation for each level, and a line feed at its end.
func (f *File) Encode() ([]byte, error) { return encode(f) }

func encode(file any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(file); err != nil {
		return nil, fmt.Errorf("encoding evidence: %w", err)
	}
	return b.Bytes(), nil
}

// decode reads what encode writes, and nothing that says the same in another way.
func decode(b []byte, file any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(file); err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}

	again, err := encode(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("%w: it is not written as the program writes it; somebody changed it, if only its spaces", ErrFile)
	}
	return nil
}

// Decode reads a file. One that Encode would write in another way is ErrFile, so
// that no changed byte goes unseen. Nothing of it is proven by that.
func Decode(b []byte) (*File, error) {
	if len(b) > MaxFileBytes {
		return nil, fmt.Errorf("%w: %d bytes, and none has more than %d", ErrFile, len(b), MaxFileBytes)
	}

	f := new(File)
	if err := decode(b, f); err != nil {
		return nil, err
	}
	if f.Format != Format {
		return nil, fmt.Errorf("%w: its format is %q, and this program reads %q", ErrFile, f.Format, Format)
	}
	return f, nil
}
