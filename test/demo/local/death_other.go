//go:build !linux

package local

import "syscall"

// dieWithParent does nothing here: a program outlives a supervisor that is killed.
func dieWithParent(*syscall.SysProcAttr) {}
