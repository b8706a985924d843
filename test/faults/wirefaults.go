package faults

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// wireKinds are what somebody on the way between a process and the bus can do, who has no keys. Whatever comes double,
// late, in another order or again costs nothing at all; nor does the loss of events, since what is missing is read
// again, nor that of a few answers.
var wireKinds = []kind{
	{name: "events dropped", weight: 2, do: (*Injector).dropEvents},
	{name: "events doubled, reordered and replayed", weight: 2, do: (*Injector).shuffleEvents},
	{name: "events falsified", weight: 1, do: (*Injector).falsifyEvents},
	{name: "a few answers dropped, swapped, falsified and replayed", weight: 2, do: (*Injector).meddleAnswers},
	{name: "most answers dropped, swapped, falsified and replayed", weight: 1, do: (*Injector).spoilAnswers},
	{name: "events dropped, and the stream's answers dropped and cut short", weight: 2, do: (*Injector).spoilStream},
	{name: "a resource service that reads slowly", weight: 2, do: (*Injector).slowResource},
}

// wireClusterKinds are the same on the way of an authsvc.
var wireClusterKinds = []kind{
	{name: "an authsvc's messages doubled, reordered and replayed", weight: 1, do: (*Injector).shuffleAuth},
	{name: "an authsvc's messages dropped and falsified", weight: 1, do: (*Injector).spoilAuth},
}

// fewLost is a share of answers that a service does without: it asks several times within B.
const fewLost = 0.2

// meddle does something to a resource service's messages for a while.
func (j *Injector) meddle(what Meddling) Fault {
	r := j.resource()
	f := j.meddleWith(r.bus, what)
	f.Name = ": " + r.Instance + f.Name
	return f
}

func (j *Injector) meddleWith(proxies []*Proxy, what Meddling) Fault {
	d := j.hold()
	began := j.Recorder.Now()
	before := did(proxies)
	meddleAll(proxies, what)
	j.burst(d)
	j.wait(max(0, d-(j.Recorder.Now()-began)))
	meddleAll(proxies, Meddling{})
	return Fault{Span: Span{Begin: began}, Name: lasting(d) + before.since(did(proxies)), Spared: true}
}

func meddleAll(proxies []*Proxy, what Meddling) {
	for _, p := range proxies {
		p.meddler.set(what)
	}
}

// some draws a share: a few, many or all.
func (j *Injector) some() float64 { return []float64{0.1, 0.5, 1}[j.rng.IntN(3)] }

func (j *Injector) dropEvents() Fault { return j.meddle(Meddling{DropLive: j.some()}) }

func (j *Injector) shuffleEvents() Fault {
	return j.meddle(Meddling{DoubleLive: j.some(), HoldLive: j.some() / 2, ReplayLive: j.some(), DoubleQuestions: 0.5})
}

func (j *Injector) falsifyEvents() Fault { return j.meddle(Meddling{FlipLive: j.some()}) }

func (j *Injector) meddleAnswers() Fault {
	return j.meddle(Meddling{DropAnswers: fewLost / 3, SwapAnswers: fewLost / 3, FlipAnswers: fewLost / 3, ReplayAnswers: 0.5})
}

func (j *Injector) spoilAnswers() Fault {
	f := j.meddle(Meddling{DropAnswers: j.some() / 2, SwapAnswers: j.some(), FlipAnswers: 0.5, ReplayAnswers: 0.5, ForeAnswers: 0.5})
	f.Spared = false
	return f
}

func (j *Injector) spoilStream() Fault {
	f := j.meddle(Meddling{DropLive: j.some(), DropStream: j.some(), FlipStream: 0.2, CutStream: j.some()})
	f.Spared = j.Bound >= noticed // a batch without an end is waited for
	return f
}

func (j *Injector) shuffleAuth() Fault {
	i, _ := j.anAuth()
	return j.meddleWith(j.authBus[i], Meddling{DoubleLive: j.some(), HoldLive: j.some() / 2, DoubleQuestions: j.some(), ReplayAnswers: 0.5, ReplayLive: 0.2})
}

func (j *Injector) spoilAuth() Fault {
	i, _ := j.anAuth()
	return j.meddleWith(j.authBus[i], Meddling{DropLive: j.some(), FlipLive: 0.3, DropAnswers: fewLost / 2, FlipAnswers: fewLost / 2})
}

// slowResource is a consumer that reads so slowly that what it is told comes ever later, or that NATS cuts it off.
func (j *Injector) slowResource() Fault {
	r, d := j.resource(), j.hold()
	rate := []int{10, 200, 2000, 20_000}[j.rng.IntN(4)]
	began := j.Recorder.Now()
	throttle(r.bus, rate)
	j.burst(d)
	j.wait(max(0, d-(j.Recorder.Now()-began)))
	throttle(r.bus, 0)
	return Fault{Span: Span{Begin: began}, Name: fmt.Sprintf(": %s%s, %d bytes/s", r.Instance, lasting(d), rate)}
}

func throttle(proxies []*Proxy, rate int) {
	for _, p := range proxies {
		p.Throttle(rate)
	}
}

// burstSize is how many events a burst has: about 50 KB on the wire.
const burstSize = 60

// burst makes events that concern nobody, as fast as they come, for as long as the fault is to last at most. That some fail,
// because of another fault, is no matter.
func (j *Injector) burst(atMost time.Duration) {
	ctx, cancel := context.WithTimeout(j.ctx, atMost)
	defer cancel()
	for range burstSize {
		authorization := j.traffic.asAdmin(ctx, j.rng)
		answer, _, err := j.traffic.auth(ctx, j.rng, http.MethodPost, "/v1/admin/revocations?wait=none", authorization,
			map[string]any{"jti": nobodysToken()})
		if answer.Status == http.StatusUnauthorized {
			j.traffic.logAdminOut()
		}
		if err != nil {
			return
		}
	}
}

// nobodysToken is an id that no token has.
func nobodysToken() string {
	var id events.ID
	rand.Read(id[:])
	binary.BigEndian.PutUint64(id[:8], uint64(time.Now().UnixMilli())<<16|7<<12)
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// doings counts what a proxy did to messages.
type doings map[string]int

func did(proxies []*Proxy) doings {
	sum := doings{}
	for _, p := range proxies {
		p.meddler.mu.Lock()
		for name, n := range p.meddler.did {
			sum[name] += n
		}
		p.meddler.mu.Unlock()
	}
	return sum
}

// since tells what was done after d was read.
func (d doings) since(now doings) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if n := now[name] - d[name]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
