package cassandra

import (
	"encoding/binary"
	"math"
	"math/bits"

	"tidemill/jobs/event"
)

// Token is where Murmur3Partitioner puts a partition whose key is one UUID: the
// first half of MurmurHash3_x64_128 (Appleby), of one block and no tail, where
// Cassandra's variant is the same as the original.
func Token(id event.UUID) int64 {
	const c1, c2 = 0x87c37b91114253d5, 0x4cf5ad432745937f
	h1 := bits.RotateLeft64(binary.LittleEndian.Uint64(id[:8])*c1, 31) * c2
	h1 = bits.RotateLeft64(h1, 27)*5 + 0x52dce729
	h2 := bits.RotateLeft64(binary.LittleEndian.Uint64(id[8:])*c2, 33) * c1
	h2 = (bits.RotateLeft64(h2, 31)+h1)*5 + 0x38495ab5
	h1, h2 = h1^16, h2^16
	h1 += h2
	h2 += h1
	token := int64(mix(h1) + mix(h2))
	if token == math.MinInt64 { // no key has the ring's minimum
		return math.MaxInt64
	}
	return token
}

func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
