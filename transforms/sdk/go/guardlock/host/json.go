package host

import "encoding/binary"

// Place is where a value lies in a JSON text.
type Place struct{ At, Size int }

// The sizes of what the host writes for a place.
const (
	foundBytes    = 8
	replacedBytes = 16
)

// somePlaces are as many as there is room for at first.
const somePlaces = 16

// FindJSON appends the places in a JSON text to which a path leads, such as $.user.mail
// or $..iban.
func FindJSON(dst []Place, text []byte, path string) ([]Place, error) {
	out := make([]byte, somePlaces*foundBytes)
	n := jsonFind(text, path, out)
	for n == codeTooSmall {
		out = make([]byte, 8*len(out))
		n = jsonFind(text, path, out)
	}

	return places(dst, out, n, foundBytes)
}

// ReplaceJSON appends the places in a JSON text to put a value for, which is JSON itself:
// what Record.Edit takes, none of them inside of another.
func ReplaceJSON(dst []Place, text []byte, path string, value []byte) ([]Place, error) {
	out := make([]byte, somePlaces*replacedBytes)
	n := jsonReplace(text, path, value, out)
	for n == codeTooSmall {
		out = make([]byte, 8*len(out))
		n = jsonReplace(text, path, value, out)
	}

	return places(dst, out, n, replacedBytes)
}

// places appends the places at the beginning of so many entries.
func places(dst []Place, out []byte, count int32, size int) ([]Place, error) {
	if err := refused(count); err != nil {
		return dst, err
	}
	if int(count) > len(out)/size {
		return dst, ErrFailed
	}

	for n := range int(count) {
		entry := out[n*size:]
		dst = append(dst, Place{
			At:   int(binary.LittleEndian.Uint32(entry)),
			Size: int(binary.LittleEndian.Uint32(entry[4:])),
		})
	}

	return dst, nil
}
