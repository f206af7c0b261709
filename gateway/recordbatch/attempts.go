package recordbatch

import "iter"

// Attempts are the ways to encode a batch that came under header h, from the one
// that was asked for to the one that makes it smallest. Each is up to 30 times
// slower than the one before, and worth it only for a batch that a module has
// made larger than its topic takes.
//
// A compressed batch keeps its codec and is compressed harder. One that came
// plain, where its codec is to be kept, is compressed: by gzip, which every
// client reads without a further library (kafkajs has no other codec, and
// kafka-python none of its own), then by zstd, which brokers take and hand out
// since Kafka 2.1, so that only a producer which speaks its protocol allows it.
// A batch that was asked to be plain stays so.
func (o EncodeOptions) Attempts(h Header, zstd bool) iter.Seq[EncodeOptions] {
	return func(yield func(EncodeOptions) bool) {
		if !yield(o) {
			return
		}

		codec := o.codec(h)
		if codec == None && !o.KeepCompression {
			return
		}

		if codec == None {
			codec = Gzip
			if !yield(o.with(Gzip, 0)) {
				return
			}
			if zstd {
				codec = Zstd
				if !yield(o.with(Zstd, 0)) {
					return
				}
			}
		}

		for level := 1; level <= maxLevel; level++ {
			if !yield(o.with(codec, level)) {
				return
			}
		}
	}
}

// codec is the codec that the new batch gets: that of the header where
// KeepCompression asks for it.
func (o EncodeOptions) codec(h Header) Compression {
	if o.KeepCompression {
		return h.Compression()
	}
	return o.Compression
}

func (o EncodeOptions) with(codec Compression, level int) EncodeOptions {
	o.Compression = codec
	o.KeepCompression = false
	o.Level = level
	return o
}
