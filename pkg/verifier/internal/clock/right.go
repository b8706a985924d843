//go:build !tocsin_defects

package clock

// wrongBy is nothing: a program reads the machine's wall clock as it is.
func wrongBy() int64 { return 0 }
