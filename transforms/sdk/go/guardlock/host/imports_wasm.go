//go:build wasip1 || tinygo.wasm

package host

import (
	"unsafe"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
)

func sha256(data, out []byte) int32 {
	return importSHA256(unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out))
}

func hmacSHA256(key uint32, data, out []byte) int32 {
	return importHMACSHA256(key, unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out))
}

func aesGCMSeal(key uint32, data []byte, purpose string, out []byte) int32 {
	return importSeal(key, unsafe.SliceData(data), uint32(len(data)), unsafe.StringData(purpose), uint32(len(purpose)), unsafe.SliceData(out), uint32(len(out)))
}

func aesGCMOpen(key uint32, envelope []byte, purpose string, out []byte) int32 {
	return importOpen(key, unsafe.SliceData(envelope), uint32(len(envelope)), unsafe.StringData(purpose), uint32(len(purpose)), unsafe.SliceData(out), uint32(len(out)))
}

func gzip(data, out []byte) int32 {
	return importGzip(unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out), uint32(len(out)))
}

func zstd(data, out []byte) int32 {
	return importZstd(unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out), uint32(len(out)))
}

func lz4(data, out []byte) int32 {
	return importLZ4(unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out), uint32(len(out)))
}

func snappy(data, out []byte) int32 {
	return importSnappy(unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out), uint32(len(out)))
}

func gunzip(data, out []byte) int32 {
	return importGunzip(unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out), uint32(len(out)))
}

func unzstd(data, out []byte) int32 {
	return importUnzstd(unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out), uint32(len(out)))
}

func unLZ4(data, out []byte) int32 {
	return importUnLZ4(unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out), uint32(len(out)))
}

func unsnappy(data, out []byte) int32 {
	return importUnsnappy(unsafe.SliceData(data), uint32(len(data)), unsafe.SliceData(out), uint32(len(out)))
}

func ff1Encrypt(f FF1, text, out []byte) int32 {
	return importFF1Encrypt(f.Key, unsafe.SliceData(text), uint32(len(text)), uint32(f.Alphabet), unsafe.StringData(f.Purpose), uint32(len(f.Purpose)),
		unsafe.SliceData(f.Tweak), uint32(len(f.Tweak)), unsafe.SliceData(out))
}

func ff1Decrypt(f FF1, text, out []byte) int32 {
	return importFF1Decrypt(f.Key, unsafe.SliceData(text), uint32(len(text)), uint32(f.Alphabet), unsafe.StringData(f.Purpose), uint32(len(f.Purpose)),
		unsafe.SliceData(f.Tweak), uint32(len(f.Tweak)), unsafe.SliceData(out))
}

func tokenise(key uint32, value []byte, purpose string, out []byte) int32 {
	return importTokenise(key, unsafe.SliceData(value), uint32(len(value)), unsafe.StringData(purpose), uint32(len(purpose)), unsafe.SliceData(out), uint32(len(out)))
}

func find(table, columns string, key, out []byte) int32 {
	return importFind(unsafe.StringData(table), uint32(len(table)), unsafe.SliceData(key), uint32(len(key)), unsafe.StringData(columns), uint32(len(columns)),
		unsafe.SliceData(out), uint32(len(out)))
}

func jsonFind(text []byte, path string, out []byte) int32 {
	return importJSONFind(unsafe.SliceData(text), uint32(len(text)), unsafe.StringData(path), uint32(len(path)), unsafe.SliceData(out), uint32(len(out)))
}

func jsonReplace(text []byte, path string, value, out []byte) int32 {
	return importJSONReplace(unsafe.SliceData(text), uint32(len(text)), unsafe.StringData(path), uint32(len(path)),
		unsafe.SliceData(value), uint32(len(value)), unsafe.SliceData(out), uint32(len(out)))
}

func count(r *guardlock.Record, key []byte, window uint32) int32 {
	return importCount(uint32(r.Position()), unsafe.SliceData(key), uint32(len(key)), window)
}

func seen(r *guardlock.Record, key []byte) int32 {
	return importSeen(uint32(r.Position()), unsafe.SliceData(key), uint32(len(key)))
}

func since(r *guardlock.Record) int32 { return importSince(uint32(r.Position())) }

func addMetric(metric, amount uint32) { importAdd(metric, amount) }

func logEvent(level, reason uint32) { importLog(level, reason) }

//go:noescape
//go:wasmimport guardlock_crypto sha256
func importSHA256(data *byte, size uint32, out *byte) int32

//go:noescape
//go:wasmimport guardlock_crypto hmac_sha256
func importHMACSHA256(key uint32, data *byte, size uint32, out *byte) int32

//go:noescape
//go:wasmimport guardlock_crypto aes_gcm_seal
func importSeal(key uint32, data *byte, size uint32, purpose *byte, purposeSize uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_crypto aes_gcm_open
func importOpen(key uint32, data *byte, size uint32, purpose *byte, purposeSize uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_compress gzip
func importGzip(data *byte, size uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_compress zstd
func importZstd(data *byte, size uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_compress lz4
func importLZ4(data *byte, size uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_compress snappy
func importSnappy(data *byte, size uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_compress gunzip
func importGunzip(data *byte, size uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_compress unzstd
func importUnzstd(data *byte, size uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_compress unlz4
func importUnLZ4(data *byte, size uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_compress unsnappy
func importUnsnappy(data *byte, size uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_crypto ff1_encrypt
func importFF1Encrypt(key uint32, data *byte, size, radix uint32, purpose *byte, purposeSize uint32, tweak *byte, tweakSize uint32, out *byte) int32

//go:noescape
//go:wasmimport guardlock_crypto ff1_decrypt
func importFF1Decrypt(key uint32, data *byte, size, radix uint32, purpose *byte, purposeSize uint32, tweak *byte, tweakSize uint32, out *byte) int32

//go:noescape
//go:wasmimport guardlock_crypto tokenise
func importTokenise(key uint32, data *byte, size uint32, purpose *byte, purposeSize uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_lookup find
func importFind(table *byte, tableSize uint32, key *byte, keySize uint32, columns *byte, columnsSize uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_json find
func importJSONFind(text *byte, size uint32, path *byte, pathSize uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_json replace
func importJSONReplace(text *byte, size uint32, path *byte, pathSize uint32, value *byte, valueSize uint32, out *byte, room uint32) int32

//go:noescape
//go:wasmimport guardlock_state count
func importCount(record uint32, key *byte, size, window uint32) int32

//go:noescape
//go:wasmimport guardlock_state seen
func importSeen(record uint32, key *byte, size uint32) int32

//go:wasmimport guardlock_state since
func importSince(record uint32) int32

//go:wasmimport guardlock_metric add
func importAdd(metric, amount uint32)

//go:wasmimport guardlock_log log
func importLog(level, reason uint32)
