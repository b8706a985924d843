// Package natstest starts real NATS servers for tests, of the version in go.mod, on free loopback ports with stores in
// temporary folders: one server in the test's process, or a cluster of three as child processes, which can be killed and
// frozen. With services given they run the permission set that ships, deploy/nats.conf, with NKeys of their own.
//
// Child processes are the test binary itself, started again: this package's init takes over when it finds its variable
// in the environment. They end when the test process ends, however it ends.
package natstest
