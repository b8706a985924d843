package cache

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// leastBlock is what equalBlocks takes at least.
const leastBlock = 128

var wide = cpu.X86.HasAVX2

// equal is == for strings of one length, in half of the instructions for long ones; see [Cache.find] for what that is good for.
func equal(a, b string) bool {
	if len(b) >= leastBlock && wide {
		return equalBlocks(unsafe.StringData(a), unsafe.StringData(b), len(b))
	}
	return a == b
}

// equalBlocks compares n bytes, at least leastBlock, all of them whatever they are. It needs AVX2.
//
//go:noescape
func equalBlocks(a, b *byte, n int) bool
