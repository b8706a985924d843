// Package model is the model run: it sets the real dispatcher against the real verifier, over a bus, a store and clocks
// in memory, and lets everything go wrong that may. It holds tests only, and lies here because nothing outside of authsvc
// can have the dispatcher; the verifier comes by pkg/verifier/verifiermodel.
//
// # What is real, and what isn't
//
// Real: feed.Dispatcher and feed.Pages; of the verifier everything but its goroutines and the NATS client: link, follower,
// set, caches and judgement; signatures, tokens and keys. In memory: the numbering transaction (feedtest.Journal, which
// keeps what store.DB promises; the suite of package storetest holds the SQL to the same), the stream, the wires, and what
// authsvc knows of users, tokens and keys ([authority]).
//
// # What may happen
//
// Any number of replicas, one or more of them with a wrong issuer; each may crash before or after any call of the journal
// or the bus, or freeze there while the others go on, and wake up later. Writers that begin early commit late. The
// database may lose commits, numbered or not; its clock may leap. The bus keeps every message that was ever sent, and
// gives any of them to anybody at any time: live messages, answers, stream and pages; losing is never giving. The stream
// may be wiped, set back, away, or lag. Verifiers restart; their wall clocks are set; they may be left alone for longer
// than B while their clocks go on. Somebody without a key forges events and answers.
//
// # What must hold
//
// After each step every verifier is asked about every credential, and what it accepts is compared with the truth
// ([world.judge], [violation]); at the end all faults stop, and everybody must become fresh, refuse what was revoked
// and accept the rest ([world.heal]).
//
// # How to run it longer, and again
//
//	go test ./authsvc/internal/model -rapid.checks=100000
//	go test ./authsvc/internal/model -run 'TestModel' -rapid.seed=…            as a failure prints it
//	go test ./authsvc/internal/model -run 'TestModel' -rapid.failfile=testdata/rapid/…   the shortest schedule found
//
// The schedules in defences_test.go show, each, that one defence is needed: without it the named promise is broken and the
// same judge says so. Those of the verifier need the tag tocsin_defects: `make defects`.
package model
