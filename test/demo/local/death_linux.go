package local

import "syscall"

// dieWithParent has the kernel end the program when the thread that started it ends, so also by kill -9 of this process.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
