//go:build unix && !linux

package pgtest

import "syscall"

// dieWithParent can't be had here: a killed test process leaves its server behind.
func dieWithParent(*syscall.SysProcAttr) {}
