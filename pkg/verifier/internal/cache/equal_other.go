//go:build !amd64

package cache

// equal is == for strings of one length.
func equal(a, b string) bool { return a == b }
