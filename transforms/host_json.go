package transforms

import (
	"encoding/binary"

	"github.com/guardlock/guardlock/transforms/jsonpath"
)

// finder is what the functions of guardlock_json work with, kept from call to call.
type finder struct {
	path   jsonpath.Path
	places []jsonpath.Place
	out    []byte
}

// search puts the places to which a path leads in a text into f.places. It returns 0,
// or what the function answers that was asked.
func (f *finder) search(i *instance, text, path []uint64, find func(*jsonpath.Path, []jsonpath.Place, []byte) ([]jsonpath.Place, error)) int32 {
	data, ok1 := i.input(text[0], text[1])
	steps, ok2 := i.input(path[0], path[1])
	if !ok1 || !ok2 || f.path.Parse(steps) != nil {
		return hostBadArguments
	}

	var err error
	f.places, err = find(&f.path, f.places[:0], data)
	if err != nil {
		return hostFailed
	}

	f.out = f.out[:0]
	return 0
}

// answer writes what was found into the guest's memory, if it fits.
func (f *finder) answer(i *instance, out, room uint64) int32 {
	switch {
	case uint64(len(f.out)) > uint64(uint32(room)):
		return hostTooSmall
	case !i.mem.Write(uint32(out), f.out):
		return hostBadArguments
	}
	return int32(len(f.places))
}

// hostJSONFind is find(ptr, len, path, path_len, out, out_cap): offset and length of
// each value to which the path leads in a JSON text; the result is how many.
func hostJSONFind(i *instance, a []uint64) int32 {
	f := &i.finder
	if failed := f.search(i, a[0:2], a[2:4], (*jsonpath.Path).Find); failed != 0 {
		return failed
	}

	for _, at := range f.places {
		f.out = binary.LittleEndian.AppendUint32(f.out, at.Off)
		f.out = binary.LittleEndian.AppendUint32(f.out, at.Len)
	}
	return f.answer(i, a[4], a[5])
}

// hostJSONReplace is replace(ptr, len, path, path_len, new, new_len, out, out_cap): the
// list of edits that puts new, a JSON value itself, for each outermost value to which
// the path leads; the result is how many. The new bytes stay where the guest has them.
func hostJSONReplace(i *instance, a []uint64) int32 {
	f := &i.finder
	by, ok := i.input(a[4], a[5])
	if !ok || !jsonpath.Valid(by) {
		return hostBadArguments
	}
	if failed := f.search(i, a[0:2], a[2:4], (*jsonpath.Path).FindOutermost); failed != 0 {
		return failed
	}

	for _, at := range f.places {
		for _, word := range []uint32{at.Off, at.Len, uint32(a[4]), uint32(len(by))} {
			f.out = binary.LittleEndian.AppendUint32(f.out, word)
		}
	}

	return f.answer(i, a[6], a[7])
}
