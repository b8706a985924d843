// Package defect takes defences of the verifier away, one at a time, so that tests can show that each of them is needed
// and that its absence is noticed. That is possible only in a program built with the tag tocsin_defects: without it,
// every switch is the constant false. No shipped program is built so, and a test looks.
//
// The switches, and what each takes away:
//
//   - Contiguity: an answer is accepted although events below its head are missing.
//   - Chain: an answer is accepted although its chain isn't that of what was applied.
//   - Signature: what comes over the bus is believed, whoever signed it.
//   - CatchUp: what was missed isn't read again; only who starts reads.
//   - FillLimit: the resolution of an API key may be used for ever.
//   - Generation: resolutions outlive a leap of the feed.
//   - Stamp: what the set said is stamped with a version that is read after the look-up, not before.
//   - RealClock: age is measured by a count of what this process ran, not by clocks that are read.
//   - Pieces: a long answer ends when that is noticed; what it sends isn't judged.
//   - Parents: a derived token is judged by itself; what it was derived from doesn't count.
package defect
