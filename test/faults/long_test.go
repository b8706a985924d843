package faults

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// stream is one that has told, a moment after each, what was made at these times.
func stream(begin, end float64, credential string, made ...float64) LongAnswer {
	a := LongAnswer{Span: at(begin, end), Instance: "one", Credential: credential, Status: 200}
	for _, m := range made {
		a.Pieces = append(a.Pieces, Piece{seconds(m), seconds(m + 0.1)})
	}
	return a
}

// pollOf is one that has told of a job that was done at a time.
func pollOf(begin, end float64, credential string, made float64) LongAnswer {
	a := stream(begin, end, credential, made)
	a.Poll = true
	return a
}

func (a LongAnswer) status(n int) LongAnswer { a.Status, a.Pieces = n, nil; return a }

func (a LongAnswer) hungUp() LongAnswer { a.HungUp = true; return a }

// lateRead is when the last piece was read.
func (a LongAnswer) lateRead(at float64) LongAnswer {
	a.Pieces[len(a.Pieces)-1].Read = seconds(at)
	return a
}

func brokenLong(promise string) func(*History) []Violation {
	return func(h *History) (broken []Violation) {
		_, _, all := LongAnswers(h)
		for _, v := range all {
			if v.Promise == promise {
				broken = append(broken, v)
			}
		}
		return broken
	}
}

func TestBoundedAcceptanceIsSeenToBeBrokenByLongAnswers(t *testing.T) {
	frozen := Fault{Span: at(6, 12), Name: "freeze", Frozen: []string{"one"}}
	check(t, brokenLong("BoundedAcceptance"), []example{
		{"ends with its token", false, history().with(kill(4, 5, "t"), stream(2, 5.1, "t", 2, 4.9))},
		{"tells something within B", false, history().with(kill(4, 5, "t"), stream(2, 8, "t", 2, 7.9))},
		{"tells something beyond B", true, history().with(kill(4, 5, "t"), stream(2, 8.3, "t", 2, 8.1))},
		{"of a key beyond B", true, history().with(kill(4, 5, "k"), stream(2, 8.3, "k", 2, 8.1))},
		{"of a suspended key beyond B", true, history().with(suspend(4, 5), stream(2, 8.3, "k", 2, 8.1))},
		{"of a key that was resumed", false, history().with(suspend(4, 5), resume(6, 7), stream(2, 8.3, "k", 2, 8.1))},
		{"another credential's", false, history().with(kill(4, 5, "t"), stream(2, 8.3, "k", 2, 8.1))},
		{"perhaps revoked", false, history().with(kill(4, 5, "t").unknown(), stream(2, 12, "t", 2, 11))},
		{"what was made before is read late", false, history().with(frozen, kill(6.1, 6.2, "t"), stream(2, 12.2, "t", 5.9).lateRead(12.1))},
		{"what was made meanwhile is told after a freeze", true, history().with(frozen, kill(6.1, 6.2, "t"), stream(2, 12.2, "t", 9.5).lateRead(12.1))},
		{"ends after a freeze", false, history().with(frozen, kill(6.1, 6.2, "t"), stream(2, 12.5, "t", 5.9))},
		{"goes on after a freeze", true, history().with(frozen, kill(6.1, 6.2, "t"), stream(2, 13.1, "t", 5.9))},
		{"goes on after another's freeze", true, history().with(frozen, kill(6.1, 6.2, "t"), func() LongAnswer { a := stream(2, 12.5, "t", 5.9); a.Instance = "two"; return a }())},
		{"is silent and open beyond B", true, history().with(kill(4, 5, "t"), stream(2, 9.1, "t", 2).hungUp())},
		{"is silent and open within the margin", false, history().with(kill(4, 5, "t"), stream(2, 8.9, "t", 2).hungUp())},
		{"a poll is answered within B", false, history().with(kill(4, 5, "t"), pollOf(2, 8, "t", 7.9))},
		{"a poll is answered beyond B", true, history().with(kill(4, 5, "t"), pollOf(2, 8.2, "t", 8.1))},
		{"a poll waits beyond B", true, history().with(kill(4, 5, "t"), pollOf(2, 9.2, "t", 2).status(401))},
		{"begins beyond B", true, history().with(kill(4, 5, "t"), stream(8.1, 8.2, "t", 8.1))},
	})
}

func TestNoCollateralIsSeenToBeBrokenByLongAnswers(t *testing.T) {
	fault := Fault{Span: at(10, 16), Name: "a fault"}
	spared := Fault{Span: at(10, 16), Name: "a loss", Spared: true}
	restart := Fault{Span: at(10, 12), Name: "a restart", Down: []string{"one"}}
	check(t, brokenLong("NoCollateral"), []example{
		{"cut out of the blue", true, history().with(stream(2, 5, "t", 2))},
		{"hung up", false, history().with(stream(2, 5, "t", 2).hungUp())},
		{"ended with its credential", false, history().with(kill(4, 5, "t"), stream(2, 5, "t", 2))},
		{"perhaps ended", false, history().with(kill(4, 5, "t").unknown(), stream(2, 5, "t", 2))},
		{"cut too early in a fault", true, history().with(fault, stream(2, 10.5, "t", 2))},
		{"cut late in a fault", false, history().with(fault, stream(2, 11.5, "t", 2))},
		{"cut long after a fault", true, history().with(fault, stream(2, 17.1, "t", 2))},
		{"cut under a loss", true, history().with(spared, stream(2, 12, "t", 2))},
		{"cut by a restart", false, history().with(restart, stream(2, 10.1, "t", 2))},
		{"cut by another's restart", true, history().with(restart, func() LongAnswer { a := stream(2, 10.1, "t", 2); a.Instance = "two"; return a }())},
		{"a poll is refused", true, history().with(pollOf(2, 5, "t", 2).status(503))},
		{"a poll is called revoked", true, history().with(fault, pollOf(2, 12, "t", 2).status(401))},
		{"a poll is refused late in a fault", false, history().with(fault, pollOf(2, 12, "t", 2).status(503))},
		{"a poll with a key that it never had, under a loss", false, history().with(spared, pollOf(11, 12, "k", 2).status(503))},
		{"a poll with a token, under a loss", true, history().with(spared, pollOf(11, 12, "t", 2).status(503))},
		{"a poll is torn by a restart", false, history().with(restart, pollOf(2, 10.2, "t", 2).status(0))},
	})
}

// What a stream tells is known by when it was made, however late it comes.
func TestPiecesCarryTheTimeAtWhichTheyWereMade(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(": from now on\n\nevent: car\nid: 1\ndata: {\"make\":\"made\",\"model\":\"" + stamp(time.Hour) + "\"}\n\nevent: car\nid: 2\ndata: {\"model\":\"Golf\"}\n\n"))
	}))
	defer service.Close()
	f := NewTraffic(&System{Recorder: NewRecorder(3 * time.Second), bound: 3 * time.Second}, 1)
	r := &Resource{Instance: "one"}
	r.Resource = resourceAt(service.URL)
	machine.Await(t, "a stream", func() bool { // with a time-out, as callers have
		f.stream(context.Background(), r, &credential{name: "t", authorization: "Bearer x"}, rand.New(rand.NewPCG(1, 1)))
		h := f.Recorder.History()
		return h.Long[len(h.Long)-1].Status != 0
	})
	h := f.Recorder.History()
	a, opening := h.Long[len(h.Long)-1], h.Calls[len(h.Calls)-1]
	if len(a.Pieces) != 2 || a.Pieces[0].Made != a.Begin || a.Pieces[1].Made != time.Hour || a.HungUp || opening.Status != 200 {
		t.Errorf("%+v, %+v", a, opening)
	}
	if made := jobIn(strings.NewReader(`{"status":"done","result":"` + stamp(time.Minute) + `"}`)); made != time.Minute {
		t.Errorf("a job that was done after a minute: %v", made)
	}
}

func resourceAt(base string) *system.Resource {
	return &system.Resource{API: system.API{Base: base}}
}
