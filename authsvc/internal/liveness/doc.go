// Package liveness decides whether a credential lives at this moment, for whoever asks: resource services over NATS, and
// callers of authsvc itself. There is one read, [store.DB.Ask], and one judgement of what it finds, [Token] and [Key].
//
// # Questions share reads
//
// A [Gatherer] runs a few reads at once. What is asked meanwhile waits, and all of it goes into the next read: the busier,
// the more share one. A question never joins a read that began before it was asked, so whoever asks knows that every
// change whose call returned before has been looked at.
//
// Each asker has a bounded queue and a bounded number of reads that its questions may be in, and a read takes questions of
// all askers in turns: a flood from one leaves the others their share. Who gives up waiting doesn't end the read, which
// others wait for. If a read fails for another reason than the database's being away, its questions are asked one by one.
package liveness
