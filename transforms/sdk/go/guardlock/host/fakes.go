//go:build !wasip1 && !tinygo.wasm

package host

import "github.com/guardlock/guardlock/transforms/sdk/go/guardlock"

// Functions are what stands for the host in a test. One that is nil answers ErrFailed.
type Functions struct {
	CryptoFunctions
	CompressFunctions
	JSONFunctions
	Find      func(table string, key []byte, columns []string) ([][]byte, error)
	Count     func(r *guardlock.Record, key []byte, windowMilliseconds uint32) (uint32, error)
	Seen      func(r *guardlock.Record, key []byte) (milliseconds uint32, before bool, err error)
	Since     func(r *guardlock.Record) (milliseconds uint32, err error)
	AddMetric func(m guardlock.Metric, amount uint32)
	Log       func(level Level, why guardlock.Reason)
}

// CryptoFunctions are those with and without keys.
type CryptoFunctions struct {
	SHA256                 func(data []byte) ([]byte, error)
	HMACSHA256             func(key uint32, data []byte) ([]byte, error)
	Seal, Open             func(key uint32, data []byte, purpose string) ([]byte, error)
	FF1Encrypt, FF1Decrypt func(f FF1, text []byte) ([]byte, error)
	Tokenise               func(key uint32, value []byte, purpose string) ([]byte, error)
}

// CompressFunctions are those of each format, both ways.
type CompressFunctions struct {
	Gzip, Zstd, LZ4, Snappy         func(data []byte) ([]byte, error)
	Gunzip, Unzstd, UnLZ4, Unsnappy func(data []byte) ([]byte, error)
}

// JSONFunctions find places in a text.
type JSONFunctions struct {
	FindJSON    func(text []byte, path string) ([]Place, error)
	ReplaceJSON func(text []byte, path string, value []byte) ([]Place, error)
}

// Fakes are the functions in use, which a test may replace:
//
//	host.Fakes.Find = func(string, []byte, []string) ([][]byte, error) { return [][]byte{[]byte("NL")}, nil }
//	t.Cleanup(func() { host.Fakes = host.NewFakes() })
var Fakes = NewFakes()

// NewFakes are functions that work with the keys of `guardlock module test`, as far as
// they can without the sandbox: digests and tokens are those of the sandbox, what is
// sealed or encrypted has its form and is no secret, what is counted is counted anew,
// and compression, tables and paths have to be replaced.
func NewFakes() Functions {
	var s sightings
	return Functions{
		CryptoFunctions: CryptoFunctions{
			SHA256:     digest,
			HMACSHA256: mac,
			Seal:       fakeSeal,
			Open:       fakeOpen,
			FF1Encrypt: func(f FF1, text []byte) ([]byte, error) { return fakeFF1(f, text, 1) },
			FF1Decrypt: func(f FF1, text []byte) ([]byte, error) { return fakeFF1(f, text, -1) },
			Tokenise:   token,
		},
		Count:     s.count,
		Seen:      s.seen,
		Since:     s.since,
		AddMetric: func(guardlock.Metric, uint32) {},
		Log:       func(Level, guardlock.Reason) {},
	}
}
