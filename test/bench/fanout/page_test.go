package fanout

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
)

const explanation = "One authsvc, one NATS node (the permission set that ships, JetStream with a file store), the database where it isn't SQLite, and the verifiers in processes " +
	"of at most 250: the kernel tells what each process has run. Verifiers have B = 30 s, so they ask for a proof twice a second. *ms/s*: milliseconds of CPU a second; 1,000 are a core. " +
	"Bytes are those that nats-server counts, headers included, without its protocol, TLS and TCP. Revocations are by jti, each a call of its own with `wait=none`, over HTTP, durable. " +
	"*Arrival*: from the answer to one of them until the last of the watchers has refused the token, which are 4 verifiers of each process; the others don't look. " +
	"Where all CPUs are busy (*machine*), times are those of a queue, and costs are those of a machine that does several at once; there, neighbours share messages more and more."

func perSecond(d, elapsed time.Duration) float64 {
	return float64(d) / float64(time.Millisecond) / elapsed.Seconds()
}
func ms(d, elapsed time.Duration) string { return fmt.Sprintf("%.1f", perSecond(d, elapsed)) }

// micros is a share of CPU for one of many, in microseconds.
func micros(d time.Duration, n uint64) string {
	if n == 0 || d < 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Microsecond)/float64(n))
}

// scaled is what a reading at rest would have used in another's time.
func scaled(d, from, to time.Duration) time.Duration {
	return time.Duration(float64(d) * float64(to) / float64(from))
}

func restTable(all []reading) [][]string {
	rows := [][]string{{"verifiers, at rest", "proofs/s", "authsvc, ms/s", "NATS, ms/s", "a verifier, ms/s", "authsvc, µs a proof", "NATS, µs a proof", "a verifier, µs a proof", "bytes into NATS/s", "out of NATS/s"}}
	var none reading
	for _, r := range all {
		if r.rate > 0 {
			continue
		}
		if r.verifiers == 0 {
			none = r
		}
		row := []string{strconv.Itoa(r.verifiers), fmt.Sprintf("%.0f", float64(r.proofs)/r.elapsed.Seconds()), ms(r.auth, r.elapsed), ms(r.nats, r.elapsed)}
		each := "–"
		if r.verifiers > 0 {
			each = fmt.Sprintf("%.2f", perSecond(r.fleet, r.elapsed)/float64(r.verifiers))
		}
		rows = append(rows, append(row, each, micros(r.auth-scaled(none.auth, none.elapsed, r.elapsed), r.proofs),
			micros(r.nats-scaled(none.nats, none.elapsed, r.elapsed), r.proofs), micros(r.fleet, r.proofs), rate(r.bus.InBytes, r.elapsed), rate(r.bus.OutBytes, r.elapsed)))
	}
	return rows
}

func rate(n uint64, elapsed time.Duration) string {
	return fmt.Sprintf("%.0f", float64(n)/elapsed.Seconds())
}

// loadTable tells of each revocation what it costs beyond the same fleet at rest.
func loadTable(all []reading) [][]string {
	rows := [][]string{{"verifiers", "revocations/s: wanted", "made", "in a call", "calls a message", "authsvc, µs a call", "NATS, µs a call", "a verifier, µs a call", "bytes out of NATS a call, each verifier", "arrival p50", "p99", "max, ms", "all had it after, ms", "machine"}}
	var rest reading
	for _, r := range all {
		if r.rate == 0 {
			rest = r
			continue
		}
		n := uint64(r.calls.Len() + r.arrival.Len())
		above := func(d, resting time.Duration) string { return micros(d-scaled(resting, rest.elapsed, r.elapsed), n) }
		verifier, bytes := "–", "–"
		if r.verifiers > 0 && r.events > 0 {
			verifier = micros(r.fleet-scaled(rest.fleet, rest.elapsed, r.elapsed), r.events)
			resting := float64(rest.bus.OutBytes) * r.elapsed.Seconds() / rest.elapsed.Seconds()
			bytes = fmt.Sprintf("%.0f", (float64(r.bus.OutBytes)-resting)/float64(r.events))
		}
		rows = append(rows, []string{strconv.Itoa(r.verifiers), strconv.Itoa(r.rate), rate(n*uint64(r.together), r.elapsed), strconv.Itoa(r.together), r.shared(), above(r.auth, rest.auth), above(r.nats, rest.nats), verifier, bytes,
			arrival(r, 0.5), arrival(r, 0.99), arrival(r, 1), figure.Millis(r.caughtUp), r.machine()})
	}
	return rows
}

// shared is how many events a message had.
func (r reading) shared() string {
	if r.messages == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f", float64(r.calls.Len()+r.arrival.Len())/float64(r.messages))
}

func arrival(r reading, p float64) string {
	if r.arrival.Len() == 0 {
		return "–"
	}
	return figure.Millis(r.arrival.At(p))
}

// machine is what the measured processes have used of all CPUs; the callers come on top.
func (r reading) machine() string {
	return fmt.Sprintf("%.1f cores", (r.auth+r.nats+r.database+r.fleet).Seconds()/r.elapsed.Seconds())
}

func sweepTable(all []reading) [][]string {
	rows := [][]string{{"callers", "revocations/s", "call p50", "p99, ms", "events a message", "authsvc, µs each", "NATS, µs each", "database, µs each", "the verifier, µs each", "arrival p50", "p99, ms", "it had all after, ms", "machine"}}
	for _, r := range all {
		n := uint64(r.calls.Len() + r.arrival.Len())
		database := "in authsvc"
		if r.database > 0 {
			database = micros(r.database, n)
		}
		rows = append(rows, []string{strconv.Itoa(r.rate), rate(n, r.elapsed), figure.Millis(r.calls.At(0.5)), figure.Millis(r.calls.At(0.99)), r.shared(), micros(r.auth, n), micros(r.nats, n), database,
			micros(r.fleet, r.events), arrival(r, 0.5), arrival(r, 0.99), figure.Millis(r.caughtUp), r.machine()})
	}
	return rows
}

type plot struct {
	name  string
	chart figure.Chart
}

// plots show CPU over the number of verifiers, and how long a revocation takes.
func plots(all []reading) []plot {
	var out []plot
	cpus := figure.Chart{Title: "CPU of a second, at rest (two proofs a second each)", Subtitle: "milliseconds; 1,000 are a core", X: "verifiers",
		Lines: []figure.Line{{Name: "NATS"}, {Name: "authsvc"}, {Name: "all verifiers"}}}
	times := figure.Chart{Title: "From the revoking call's answer until the last watcher refuses", Subtitle: "median; where the CPUs are all busy, a queue", X: "verifiers"}
	for _, r := range all {
		switch {
		case r.verifiers == 0:
		case r.rate == 0:
			for i, d := range []time.Duration{r.nats, r.auth, r.fleet} {
				cpus.Lines[i].X, cpus.Lines[i].Y = append(cpus.Lines[i].X, r.verifiers), append(cpus.Lines[i].Y, scaled(d, r.elapsed, time.Second))
			}
		default:
			times.Lines = addTo(times.Lines, fmt.Sprintf("%d/s", r.rate), r.verifiers, r.arrival.At(0.5))
		}
	}
	out = append(out, plot{figure.Today() + "-fanout-cpu.svg", cpus}, plot{figure.Today() + "-fanout-arrival.svg", times})
	return out
}

func addTo(lines []figure.Line, name string, x int, y time.Duration) []figure.Line {
	for i := range lines {
		if lines[i].Name == name {
			lines[i].X, lines[i].Y = append(lines[i].X, x), append(lines[i].Y, y)
			return lines
		}
	}
	return append(lines, figure.Line{Name: name, X: []int{x}, Y: []time.Duration{y}})
}
