package recordbatch

// maxLevel is the densest level that EncodeOptions knows. Denser ones take far
// more time for little.
const maxLevel = 2

// compress appends src, compressed with codec at a level, to dst, which grows
// as needed.
func (c *Codec) compress(dst, src []byte, codec Compression, level int) ([]byte, error) {
	level = min(max(level, 0), maxLevel)
	switch codec {
	case Gzip:
		return c.gzip.encode(dst, src, level)
	case Snappy:
		return encodeSnappy(dst, src, level), nil
	case LZ4:
		return c.lz4.encode(dst, src, level), nil
	case Zstd:
		return c.zstd.encode(dst, src, level)
	}

	return dst, ErrUnsupportedCompression
}
