package feed

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func arrivalOf(text string, at time.Time) arrival {
	return arrival{message: &nats.Msg{Data: []byte(text)}, at: at}
}

func TestArrivalsAreGivenOutOneOfEachServiceInTurn(t *testing.T) {
	var a arrivals
	for i := range 100 {
		a.add("loud", arrivalOf(fmt.Sprint(i), time.Time{}))
	}
	a.add("quiet", arrivalOf("only", time.Time{}))
	for i, want := range []string{"0", "only", "1", "2"} {
		if _, one, ok := a.take(); !ok || string(one.message.Data) != want {
			t.Errorf("%d: %q, want %q", i, one.message.Data, want)
		}
	}
}

func TestWhatAServiceSendsTooMuchOfDisplacesItsOwnOldestRequests(t *testing.T) {
	var a arrivals
	a.add("quiet", arrivalOf("kept", time.Time{}))
	displaced := 0
	for i := range maxArrivals + 5 {
		displaced += a.add("loud", arrivalOf(fmt.Sprint(i), time.Time{}))
	}
	if displaced != 5 {
		t.Errorf("%d displaced, want 5", displaced)
	}
	if _, one, _ := a.take(); string(one.message.Data) != "kept" {
		t.Errorf("the other service's request is %q", one.message.Data)
	}
	if _, one, _ := a.take(); string(one.message.Data) != "5" {
		t.Errorf("the oldest is %q, want 5", one.message.Data)
	}
	huge := arrival{message: &nats.Msg{Data: make([]byte, maxArrivalBytes)}}
	if displaced = a.add("loud", huge); displaced != maxArrivals-1 {
		t.Errorf("a huge one displaced %d, want all of its service's %d", displaced, maxArrivals-1)
	}
}

func TestArrivalsAreBoundedInTheNumberOfServices(t *testing.T) {
	var a arrivals
	for i := range maxServices {
		if a.add(fmt.Sprint("s", i), arrivalOf("", time.Time{})) != 0 {
			t.Fatalf("no room for service %d", i)
		}
	}
	if a.add("one-too-many", arrivalOf("", time.Time{})) != 1 || a.add("s0", arrivalOf("", time.Time{})) != 0 {
		t.Error("services aren't bounded, or a new one takes an older one's place")
	}
	a.take() // of s0, which has one more
	a.take()
	if a.add("new", arrivalOf("", time.Time{})) != 0 {
		t.Error("a service with nothing waiting keeps its place from a new one")
	}
}

func TestArrivalsTellHowOldTheOldestIs(t *testing.T) {
	var a arrivals
	now := time.Unix(1000, 0)
	look := func(want time.Time) {
		t.Helper()
		if got := a.since(now); !got.Equal(want) {
			t.Errorf("since %v, want %v", got, want)
		}
	}
	look(now)
	a.add("cars", arrivalOf("", now.Add(-2*time.Second)))
	a.add("jobs", arrivalOf("", now.Add(-time.Second)))
	look(now.Add(-2 * time.Second))
	a.take()
	look(now.Add(-2 * time.Second)) // it is being decoded
	a.take()
	look(now.Add(-time.Second))
	a.take()
	look(now)
}
