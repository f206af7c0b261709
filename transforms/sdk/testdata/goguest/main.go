// Command goguest is a module that does what the value of a record says, to show that
// each part of the Go SDK works in the sandbox.
package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock/host"
)

var counted = guardlock.NewMetric("guest.counted")

var places = host.NewTable("places", "country", "city")

func init() { guardlock.Export(guest{}) }

func main() {}

type guest struct{}

// Configure takes anything but {}.
func (guest) Configure(config []byte) error {
	if string(config) == "{}" {
		return errors.New("there is nothing in it")
	}
	return nil
}

func (guest) Apply(r *guardlock.Record) guardlock.Verdict {
	what, data, _ := strings.Cut(string(r.Value()), " ")
	given := []byte(data)
	var made []byte
	var err error
	switch what {
	case "sha256":
		var sum [32]byte
		sum, err = host.SHA256(given)
		made = sum[:]
	case "hmac":
		var sum [32]byte
		sum, err = host.HMACSHA256(1, given)
		made = sum[:]
	case "unknown-key":
		_, err = host.HMACSHA256(100, given)
	case "seal":
		made, err = host.Seal(nil, 0, given, "field")
		if err == nil && len(made) == len(given)+host.EnvelopeOverhead {
			made, err = host.Open(nil, 0, made, "field")
		}
	case "not-opened":
		made, err = host.Seal(nil, 0, given, "field")
		if err == nil {
			made, err = host.Open(nil, 0, made, "other")
		}
	case "compress":
		made, err = compressed(given)
	case "too-small":
		_, err = host.Gzip(nil, given, 3)
	case "decompress":
		made, err = decompressed(given)
	case "ff1":
		f := host.FF1{Key: 1, Alphabet: host.Digits, Purpose: "card", Tweak: []byte("t")}
		made, err = f.Encrypt(nil, given)
		if err == nil && string(made) != data {
			made, err = f.Decrypt(nil, made)
		}
	case "tokenise":
		made, err = host.Tokenise(nil, 2, given, "card")
	case "find":
		made, err = found(given)
	case "count":
		made, err = countedNow(r, given)
	case "metric":
		host.AddMetric(counted, 3)
		made = given
	case "log":
		host.Log(host.Warning, guardlock.Unspecified)
		made = given
	case "find-json":
		made, err = foundJSON(given)
	case "replace-json":
		places, err := host.ReplaceJSON(nil, r.Value()[len("replace-json "):], "$..card", []byte("null"))
		if err != nil {
			r.SetValue([]byte(err.Error()))
			return guardlock.Pass
		}
		r.Edit(0, len("replace-json "), nil)
		for _, p := range places {
			r.Edit(len("replace-json ")+p.At, p.Size, []byte("null"))
		}
		return guardlock.Modify(guardlock.Unspecified)
	case "edit":
		r.Edit(0, len("edit "), nil)
		r.Edit(len("edit ")+1, 1, []byte("***"))
		r.SetHeader("edited", nil)
		return guardlock.Modify(guardlock.Unspecified)
	case "null":
		r.SetKey([]byte{})
	case "describe":
		made = describe(r)
	case "garbage":
		made = garbage(given)
	case "print":
		print(data)
		made = given
	case "panic":
		panic(data)
	case "fail":
		return guardlock.Fail
	}

	if err != nil {
		made = []byte(err.Error())
	}
	r.SetValue(made)
	return guardlock.Pass
}

// compressed tells how long data is in each format.
func compressed(data []byte) ([]byte, error) {
	var lengths []string
	for _, by := range []func(dst, data []byte, most int) ([]byte, error){host.Gzip, host.Zstd, host.LZ4, host.Snappy} {
		out, err := by(nil, data, 1000)
		if err != nil {
			return nil, err
		}
		lengths = append(lengths, strconv.FormatBool(len(out) > 0 && len(out) < len(data)))
	}

	return []byte(strings.Join(lengths, " ")), nil
}

// decompressed compresses data and takes it back in each format.
func decompressed(data []byte) ([]byte, error) {
	type both struct {
		there, back func(dst, data []byte, most int) ([]byte, error)
	}
	for _, by := range []both{{host.Gzip, host.Gunzip}, {host.Zstd, host.Unzstd}, {host.LZ4, host.UnLZ4}, {host.Snappy, host.Unsnappy}} {
		packed, err := by.there(nil, data, 1000)
		if err != nil {
			return nil, err
		}
		if data, err = by.back(nil, packed, 1000); err != nil {
			return nil, err
		}
	}

	return data, nil
}

// foundJSON tells how many numbers there are, and where the first two lie.
func foundJSON(text []byte) ([]byte, error) {
	places, err := host.FindJSON(nil, text, "$[*]")
	out := strconv.Itoa(len(places)) + ":"
	for _, p := range places[:min(len(places), 2)] {
		out += " " + strconv.Itoa(p.At) + "+" + strconv.Itoa(p.Size)
	}

	return []byte(out), err
}

func found(key []byte) ([]byte, error) {
	values, err := places.Find(key, 100)
	if err != nil {
		return nil, err
	}
	return []byte(string(values[0]) + ", " + string(values[1])), nil
}

// countedNow tells how often a key came in a minute, and how long ago.
func countedNow(r *guardlock.Record, key []byte) ([]byte, error) {
	n, err := host.Count(r, key, 60_000)
	if err != nil {
		return nil, err
	}
	ago, before, err := host.Seen(r, key)
	if err != nil {
		return nil, err
	}
	_, err = host.Since(r)

	return []byte(strconv.Itoa(int(n)) + " " + strconv.FormatBool(before) + " " + strconv.Itoa(int(ago))), err
}

func describe(r *guardlock.Record) []byte {
	text := "key " + strconv.Quote(string(r.Key())) + ", at " + strconv.FormatInt(r.Timestamp(), 10) + ", partition " + strconv.Itoa(int(r.Partition())) +
		", orders " + strconv.FormatBool(r.IsOfTopic("orders")) + ", position " + strconv.Itoa(r.Position())
	for h := range r.Headers() {
		text += ", " + string(h.Key) + "=" + strconv.Quote(string(h.Value))
		if h.Value == nil {
			text += "(null)"
		}
	}

	return []byte(text)
}

// garbage makes a mebibyte that nobody needs.
func garbage(data []byte) []byte {
	for range 256 {
		data = append(data[:len(data):len(data)], make([]byte, 4096)...)[:len(data)]
	}
	return data
}
