//go:build amd64 || arm64

package cache

import "unsafe"

// prefetch has the processor fetch a cache line and a string, and waits for neither.
//
//go:noescape
func prefetch(line unsafe.Pointer, text string)
