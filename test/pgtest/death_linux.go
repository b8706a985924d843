package pgtest

import "syscall"

// dieWithParent has the kernel stop the server at once when this process dies, however it dies.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
