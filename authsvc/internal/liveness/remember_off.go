//go:build !tocsin_defects || !linux

package liveness

// remembering does nothing: each answer is a read of the primary that begins after its question came.
func remembering(s Reader) Reader { return s }
