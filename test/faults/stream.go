package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

const (
	streamPatience = 3 * machine.Patience
	streamReading  = machine.Patience // all of it, message by message
	streamReaders  = 16               // at once, since each message is a round trip on a busy machine
	streamPoll     = 50 * time.Millisecond
)

// withStream does something by JetStream's API, again until it succeeds: as its operator in the cluster, as authsvc in the
// single set-up, where nobody else may.
func (j *Injector) withStream(what string, do func(context.Context, jetstream.JetStream) error) {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(j.t.Context(), streamPatience)
	defer cancel()
	nc := j.busAdmin()
	defer nc.Close()
	js, err := jetstream.New(nc)
	for err == nil {
		one, done := context.WithTimeout(ctx, streamReading)
		failed := do(one, js)
		done()
		if failed == nil {
			return
		}
		if !pause(ctx, streamPoll) {
			err = failed
		}
	}
	j.t.Errorf("%s: %v", what, err) // the run goes on, since what it has recorded is still to be validated
}

// busAdmin connects to the bus itself, not to proxies.
func (j *Injector) busAdmin() *nats.Conn {
	j.t.Helper()
	url, user, seed := "", natstest.Operator, ""
	if j.nats != nil {
		url, seed = j.nats.URL(), j.nats.SeedFile(natstest.Operator)
	} else {
		url, user = j.Auth[0].NATSURL, natstest.AuthFeed
		seed = filepath.Join(j.Auth[0].DataDir, "nats", "authsvc.feed.nk")
	}
	key, err := nats.NkeyOptionFromSeed(seed)
	if err != nil {
		j.t.Fatal(err)
	}
	nc, err := nats.Connect(url, key, nats.CustomInboxPrefix("_INBOX_"+user), nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1), nats.ReconnectWait(streamPoll))
	if err != nil {
		j.t.Fatal(err)
	}
	return nc
}

// streamLeader is the node that leads the stream; it waits until there is one.
func (j *Injector) streamLeader() int {
	j.t.Helper()
	leader := -1
	j.withStream("look for the stream's leader", func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, events.StreamName)
		if err != nil {
			return err
		}
		for i := range natstest.Nodes {
			if c := s.CachedInfo().Cluster; c != nil && c.Leader == j.nats.NodeName(i) {
				leader = i
				return nil
			}
		}
		return fmt.Errorf("the stream has no leader: %+v", s.CachedInfo().Cluster)
	})
	if leader < 0 {
		j.t.FailNow()
	}
	return leader
}

// awaitStream waits until authsvc has given the stream what it needs: its configuration, and every event that lives.
func (j *Injector) awaitStream() {
	j.t.Helper()
	j.withStream("wait until the stream is as it should be", func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, events.StreamName)
		if err != nil {
			return err
		}
		if c := s.CachedInfo().Config; !c.AllowDirect || !c.DenyPurge || !c.DenyDelete || c.MaxMsgs > 0 || (j.nats != nil && c.Replicas != natstest.Nodes) {
			return fmt.Errorf("configuration %+v", c)
		}
		return j.complete(ctx, js, s)
	})
}

// complete returns nil when the stream holds every event that lives, to where its end was seen before at least.
func (j *Injector) complete(ctx context.Context, js jetstream.JetStream, s jetstream.Stream) error {
	state := s.CachedInfo().State
	if state.Msgs == 0 {
		return fmt.Errorf("no messages: %+v", state)
	}
	messages, err := j.messages(ctx, js, s, max(state.FirstSeq, 1), state.LastSeq)
	if err != nil {
		return fmt.Errorf("%+v: %w", state, err)
	}
	held := map[string]map[uint64]bool{}
	var tail events.Batch
	for _, data := range messages {
		if tail, err = events.DecodeBatch(data); err != nil {
			return err
		}
		if held[tail.Epoch] == nil {
			held[tail.Epoch] = map[uint64]bool{}
		}
		for _, e := range tail.Events {
			held[tail.Epoch][e.Seq] = true
		}
	}
	if tail.Epoch < j.streamEpoch || (tail.Epoch == j.streamEpoch && tail.LastSeq() < j.streamHead) {
		return fmt.Errorf("the stream ends with %s %d, and did with %s %d", tail.Epoch, tail.LastSeq(), j.streamEpoch, j.streamHead)
	}
	for seq := tail.Floor; seq <= tail.LastSeq(); seq++ {
		if !held[tail.Epoch][seq] {
			return fmt.Errorf("the stream lacks the event %d of %d to %d", seq, tail.Floor, tail.LastSeq())
		}
	}
	j.streamEpoch, j.streamHead = tail.Epoch, tail.LastSeq()
	return nil
}

// messages reads a part of the stream.
func (j *Injector) messages(ctx context.Context, js jetstream.JetStream, s jetstream.Stream, first, last uint64) ([][]byte, error) {
	all := make([][]byte, last+1-first)
	var next atomic.Uint64
	var reading sync.WaitGroup
	failed := make([]error, streamReaders)
	for reader := range failed {
		reading.Go(func() {
			for seq := first + next.Add(1) - 1; seq <= last; seq = first + next.Add(1) - 1 {
				data, err := j.message(ctx, js, s, seq)
				if err != nil {
					failed[reader] = fmt.Errorf("message %d: %w", seq, err)
					return
				}
				all[seq-first] = data
			}
		})
	}
	reading.Wait()
	return all, errors.Join(failed...)
}

// message reads from the stream's leader. Any replica may answer a Direct Get, and one whose store was set back may lack
// messages for good: verifiers then read pages.
func (j *Injector) message(ctx context.Context, js jetstream.JetStream, s jetstream.Stream, seq uint64) ([]byte, error) {
	if j.nats == nil {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	}
	reply, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+events.StreamName, fmt.Appendf(nil, `{"seq":%d}`, seq))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError
		Message struct{ Data []byte }
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	return answer.Message.Data, nil
}
