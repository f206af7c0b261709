//go:build wasip1 || tinygo.wasm

package host

import "unsafe"

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

//go:wasmimport guardlock_log log
func importLog(level, reason uint32)
