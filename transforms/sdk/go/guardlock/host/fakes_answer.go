//go:build !wasip1 && !tinygo.wasm

package host

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
)

func sha256(data, out []byte) int32 { return answerOf(Fakes.SHA256, data, out) }
func gzip(data, out []byte) int32   { return answerOf(Fakes.Gzip, data, out) }
func zstd(data, out []byte) int32   { return answerOf(Fakes.Zstd, data, out) }
func lz4(data, out []byte) int32    { return answerOf(Fakes.LZ4, data, out) }
func snappy(data, out []byte) int32 { return answerOf(Fakes.Snappy, data, out) }

func gunzip(data, out []byte) int32   { return answerOf(Fakes.Gunzip, data, out) }
func unzstd(data, out []byte) int32   { return answerOf(Fakes.Unzstd, data, out) }
func unLZ4(data, out []byte) int32    { return answerOf(Fakes.UnLZ4, data, out) }
func unsnappy(data, out []byte) int32 { return answerOf(Fakes.Unsnappy, data, out) }

func hmacSHA256(key uint32, data, out []byte) int32 {
	if Fakes.HMACSHA256 == nil {
		return codeFailed
	}
	return written(out)(Fakes.HMACSHA256(key, data))
}

func aesGCMSeal(key uint32, data []byte, purpose string, out []byte) int32 {
	return answerUnderKey(Fakes.Seal, key, data, purpose, out)
}

func aesGCMOpen(key uint32, envelope []byte, purpose string, out []byte) int32 {
	return answerUnderKey(Fakes.Open, key, envelope, purpose, out)
}

func tokenise(key uint32, value []byte, purpose string, out []byte) int32 {
	return answerUnderKey(Fakes.Tokenise, key, value, purpose, out)
}

func ff1Encrypt(f FF1, text, out []byte) int32 {
	if Fakes.FF1Encrypt == nil {
		return codeFailed
	}
	return written(out)(Fakes.FF1Encrypt(f, text))
}

func ff1Decrypt(f FF1, text, out []byte) int32 {
	if Fakes.FF1Decrypt == nil {
		return codeFailed
	}
	return written(out)(Fakes.FF1Decrypt(f, text))
}

func find(table, columns string, key, out []byte) int32 {
	if Fakes.Find == nil {
		return codeFailed
	}
	values, err := Fakes.Find(table, key, strings.Split(columns, "\n"))

	var made []byte
	for _, v := range values {
		if v == nil {
			made = binary.LittleEndian.AppendUint32(made, noValue)
			continue
		}
		made = binary.LittleEndian.AppendUint32(made, uint32(len(v)))
		made = append(made, v...)
	}
	return written(out)(made, err)
}

func jsonFind(text []byte, path string, out []byte) int32 {
	if Fakes.FindJSON == nil {
		return codeFailed
	}
	found, err := Fakes.FindJSON(text, path)
	return entries(out, foundBytes, found, err)
}

func jsonReplace(text []byte, path string, value, out []byte) int32 {
	if Fakes.ReplaceJSON == nil {
		return codeFailed
	}
	replaced, err := Fakes.ReplaceJSON(text, path, value)
	return entries(out, replacedBytes, replaced, err)
}

// entries writes places as the host does.
func entries(out []byte, size int, places []Place, err error) int32 {
	if err != nil {
		return codeOfError(err)
	}
	if size*len(places) > len(out) {
		return codeTooSmall
	}

	for n, p := range places {
		binary.LittleEndian.PutUint32(out[n*size:], uint32(p.At))
		binary.LittleEndian.PutUint32(out[n*size+4:], uint32(p.Size))
	}
	return int32(len(places))
}

func count(r *guardlock.Record, key []byte, window uint32) int32 {
	if Fakes.Count == nil {
		return codeFailed
	}
	return number(Fakes.Count(r, key, window))
}

func seen(r *guardlock.Record, key []byte) int32 {
	if Fakes.Seen == nil {
		return codeFailed
	}
	n, before, err := Fakes.Seen(r, key)
	if err == nil && !before {
		return codeNotFound
	}
	return number(n, err)
}

func since(r *guardlock.Record) int32 {
	if Fakes.Since == nil {
		return codeFailed
	}
	return number(Fakes.Since(r))
}

func addMetric(metric, amount uint32) {
	if Fakes.AddMetric != nil {
		Fakes.AddMetric(guardlock.Metric(metric), amount)
	}
}

func logEvent(level, reason uint32) {
	if Fakes.Log != nil {
		Fakes.Log(Level(level), guardlock.Reason(reason))
	}
}

func answerOf(by func([]byte) ([]byte, error), data, out []byte) int32 {
	if by == nil {
		return codeFailed
	}
	return written(out)(by(data))
}

func answerUnderKey(by func(uint32, []byte, string) ([]byte, error), key uint32, data []byte, purpose string, out []byte) int32 {
	if by == nil {
		return codeFailed
	}
	return written(out)(by(key, data, purpose))
}

// written is the code with which a host would answer.
func written(out []byte) func(made []byte, err error) int32 {
	return func(made []byte, err error) int32 {
		if err != nil {
			return codeOfError(err)
		}
		if len(made) > len(out) {
			return codeTooSmall
		}
		return int32(copy(out, made))
	}
}

func number(n uint32, err error) int32 {
	if err != nil {
		return codeOfError(err)
	}
	return int32(n)
}

// codeOfError is the code that stands for an error, as refused reads it.
func codeOfError(err error) int32 {
	for code := int32(codeStale); code < 0; code++ {
		if errors.Is(err, refused(code)) {
			return code
		}
	}

	return codeFailed
}
