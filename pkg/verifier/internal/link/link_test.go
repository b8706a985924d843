package link

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func TestFirstStartReadsTheStreamAndBecomesReady(t *testing.T) {
	inScene(t, revokeAll(20), func(s *scene) {
		s.pass(time.Second)
		s.mustBeReady()
		s.mustHave(1, 20)
		if len(s.link.Keys().ByKID) != 1 || s.times(events.SnapshotSubject(testService)) != 0 {
			t.Fatalf("%+v", s.link.Stats())
		}
	})
}

func TestNothingToReadIsReadyAtOnce(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Millisecond)
		s.mustBeReady()
		if s.times(events.SubjectStreamGet) != 0 {
			t.Fatal("read a stream for nothing")
		}
	})
}

func TestLiveEventIsAppliedAtOnce(t *testing.T) {
	inScene(t, revokeAll(3), func(s *scene) {
		s.pass(time.Second)
		s.change(func(a *authority) { s.wire.live(a.revoke(jti(4))) })
		synctest.Wait()
		s.mustHave(4, 4)
		if got := s.link.Stats().Applied; got != 4 {
			t.Fatalf("applied %d", got)
		}
	})
}

func TestQuestionsComeAtTheirCadence(t *testing.T) {
	for bound, want := range map[time.Duration]int{30 * time.Second: 20, time.Second: 100} {
		inScene(t, nil, func(s *scene) {
			s.link.SetBounds(bound, 30*time.Second)
			s.pass(time.Second)
			before := s.times(events.ProofSubject(testService))
			s.pass(10 * time.Second)
			if got := s.times(events.ProofSubject(testService)) - before; got < want*9/10 || got > want*11/10 {
				t.Fatalf("bound %v: %d questions in 10 s, want about %d", bound, got, want)
			}
		})
	}
}

func TestUnansweredQuestionsAreRepeatedSoon(t *testing.T) {
	for name, test := range map[string]struct {
		away        func(*authority, bool)
		least, most int
		again       time.Duration
	}{
		"no answer":      {func(a *authority, away bool) { a.deaf = away }, 40, 56, 300 * time.Millisecond},
		"nobody listens": {func(a *authority, away bool) { a.silent = away }, 100, 140, 110 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, nil, func(s *scene) {
				s.pass(time.Second)
				s.change(func(a *authority) { test.away(a, true) })
				before := s.times(events.ProofSubject(testService))
				s.pass(10 * time.Second)
				if got := s.times(events.ProofSubject(testService)) - before; got < test.least || got > test.most {
					t.Fatalf("%d questions in 10 s", got)
				}
				s.mustBeReady()
				s.pass(21 * time.Second)
				s.mustNotBeReady()
				s.change(func(a *authority) { test.away(a, false) })
				s.pass(test.again)
				s.mustBeReady()
			})
		})
	}
}

func TestEventThatSomebodyWaitsForIsConfirmedAtOnce(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		before := s.times(events.ProofSubject(testService))
		s.change(func(a *authority) {
			a.revoke(jti(1))
			s.wire.live(a.batch(1, 1, true))
		})
		s.pass(2 * minAskGap)
		if got := s.times(events.ProofSubject(testService)) - before; got != 1 {
			t.Fatalf("%d questions", got)
		}
	})
}

func TestHoleIsReadFromTheStreamNearIt(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		for n := range 30 {
			s.change(func(a *authority) { s.wire.live(a.revoke(jti(n + 1))) })
			s.pass(time.Minute)
		}
		s.change(func(a *authority) {
			a.revoke(jti(31)) // lost
			s.wire.live(a.revoke(jti(32)))
			a.streamFrom = nil
		})
		s.pass(time.Second)
		s.mustHave(1, 32)
		if s.link.Stats().Applied != 32 || s.times(events.SnapshotSubject(testService)) != 0 {
			t.Fatalf("%+v", s.link.Stats())
		}
		if start := s.streamFrom[0].StartTime; start == nil || time.Since(*start) > 4*time.Minute {
			t.Fatalf("read from %v", start)
		}
		if fresh := s.link.Fresh(); fresh.Head != 32 {
			t.Fatalf("%+v", fresh)
		}
	})
}

func TestWhatTheStreamLacksComesAsSnapshot(t *testing.T) {
	for name, prepare := range map[string]func(*authority){
		"no stream":      func(a *authority) { a.stream, a.mapped = nil, false },
		"stream wiped":   func(a *authority) { a.stream = nil },
		"hole in stream": func(a *authority) { a.stream = append(a.stream[:7], a.stream[9:]...) },
		"stream cut":     func(a *authority) { a.stream = a.stream[:10] },
		"busy at first":  func(a *authority) { a.stream, a.busy = nil, 3 },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(a *authority) { revokeAll(23)(a); prepare(a) }, func(s *scene) {
				s.pass(3 * time.Second)
				s.mustBeReady()
				s.mustHave(1, 23)
				if stats := s.link.Stats(); stats.CatchUps[sourceSnapshot] == 0 {
					t.Fatalf("%+v", stats)
				}
			})
		})
	}
}

func TestPlainNATSIsReadWithoutTheMappedSubject(t *testing.T) {
	inScene(t, func(a *authority) { revokeAll(9)(a); a.mapped = false }, func(s *scene) {
		s.pass(time.Second)
		s.mustBeReady()
		s.mustHave(1, 9)
		if s.link.Stats().CatchUps[sourceSnapshot] != 0 {
			t.Fatal("asked for a snapshot")
		}
		if s.times(events.SubjectStreamGet) != 1 {
			t.Fatal("the subject that worked should be remembered")
		}
	})
}

func TestReconnectReadsNothingIfNothingWasMissed(t *testing.T) {
	inScene(t, revokeAll(5), func(s *scene) {
		s.pass(time.Second)
		before := s.times(events.SubjectStreamGet)
		s.wire.cut()
		s.pass(10 * time.Second)
		s.wire.mend()
		s.pass(10 * time.Millisecond)
		if age := s.link.Stats().ProofAge; age > 20*time.Millisecond {
			t.Fatalf("the last proof is %v old: not asked at once", age)
		}
		s.pass(time.Second)
		if s.times(events.SubjectStreamGet) != before {
			t.Fatal("read the stream for nothing")
		}
		if s.wire.flushes != 2 {
			t.Fatalf("%d flushes", s.wire.flushes)
		}
	})
}

func TestReconnectReadsWhatWasMissed(t *testing.T) {
	inScene(t, revokeAll(5), func(s *scene) {
		s.pass(time.Second)
		s.wire.cut()
		s.change(func(a *authority) { a.revoke(jti(6)); a.revoke(jti(7)) })
		s.pass(10 * time.Second)
		s.wire.mend()
		s.pass(300 * time.Millisecond)
		s.mustHave(1, 7)
		if age := s.link.Stats().ProofAge; age > time.Second {
			t.Fatalf("the last proof is %v old", age)
		}
	})
}

func TestReadingEndsWithItsConnection(t *testing.T) {
	inScene(t, func(a *authority) { revokeAll(5)(a); a.mute = true }, func(s *scene) {
		s.pass(500 * time.Millisecond) // waits for the stream, and would for a long time
		s.mustNotBeReady()
		s.wire.cut()
		s.pass(time.Millisecond)
		s.change(func(a *authority) { a.mute = false })
		s.wire.mend()
		s.pass(50 * time.Millisecond)
		s.mustBeReady()
	})
}

func TestStreamThatNeverAnswersIsGivenUp(t *testing.T) {
	inScene(t, func(a *authority) { revokeAll(5)(a); a.mute = true }, func(s *scene) {
		s.pass(batchTries*batchTimeout + 100*time.Millisecond)
		s.mustBeReady()
		if stats := s.link.Stats(); stats.CatchUps[sourceSnapshot] != 1 {
			t.Fatalf("%+v", stats)
		}
	})
}

// Whoever loses answers while something is wrong has to be fresh within a second of the time from which none is lost.
func TestALostAnswerIsAskedForAgainSoon(t *testing.T) {
	t.Run("of the stream", func(t *testing.T) {
		inScene(t, func(a *authority) { revokeAll(5)(a); a.lostBatches = 1 }, func(s *scene) {
			s.pass(batchTimeout + 100*time.Millisecond)
			s.mustBeReady()
			if stats := s.link.Stats(); stats.CatchUps[sourceSnapshot] != 0 {
				t.Errorf("%+v", stats)
			}
		})
	})
	t.Run("of authsvc", func(t *testing.T) {
		inScene(t, func(a *authority) { revokeAll(5)(a); a.mute, a.lostPages = true, 1 }, func(s *scene) {
			s.pass(batchTries*batchTimeout + pageTimeout + 100*time.Millisecond)
			s.mustBeReady()
			if stats := s.link.Stats(); stats.CatchUpErrors != 0 {
				t.Errorf("%+v", stats)
			}
		})
	})
}

func TestAStreamThatPromisesMoreAndBringsNothingIsGivenUp(t *testing.T) {
	inScene(t, func(a *authority) { revokeAll(5)(a); a.stuck = 1000 }, func(s *scene) {
		s.pass(100 * time.Millisecond)
		s.mustBeReady()
		if n := s.times(events.SubjectStreamGet); n > 3 {
			t.Fatalf("asked the stream %d times", n)
		}
	})
}

// Without a back-off of its own, each such verifier would read a page of authsvc more than once a second until it is
// replaced by a newer one.
func TestAnEventThatThisReleaseDoesNotUnderstandIsSeldomReadAgain(t *testing.T) {
	inScene(t, revokeAll(3), func(s *scene) {
		s.pass(time.Second)
		s.change(func(a *authority) { s.wire.live(a.say("token.sealed", []byte(`{"jti":"x"}`))) })
		s.pass(time.Minute)
		s.mustNotBeReady()
		if n := s.times(events.SnapshotSubject(testService)); n < 2 || n > 12 {
			t.Errorf("asked for a page %d times in a minute", n)
		}
		s.wire.cut()
		s.wire.mend()
		before := s.times(events.SnapshotSubject(testService))
		s.pass(300 * time.Millisecond)
		if s.times(events.SnapshotSubject(testService)) == before {
			t.Error("a new connection should be tried at once")
		}
		s.change(func(a *authority) { // past it by the floor
			a.revoke(jti(5))
			a.floor = 5
			s.wire.live(a.batch(5, 5, false))
		})
		s.pass(time.Second)
		s.mustBeReady()
	})
}

func TestSlowConsumerShowsAndIsMended(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		s.change(func(a *authority) {
			var all []*nats.Msg // more than the subscription holds
			for n := range 200 {
				all = append(all, a.revoke(jti(n+1)))
			}
			s.wire.burst(all)
		})
		s.pass(time.Second)
		s.mustHave(1, 200)
		if stats := s.link.Stats(); stats.SlowConsumer == 0 || stats.Applied != 200 {
			t.Fatalf("%+v", stats)
		}
	})
}

func TestGreaterEpochIsFollowed(t *testing.T) {
	inScene(t, revokeAll(5), func(s *scene) {
		s.pass(time.Second)
		skips := s.skips
		s.change(func(a *authority) {
			a.open(2)
			revokeAll(8)(a)
			a.stream = nil // not yet published again
		})
		s.pass(2 * time.Second)
		s.mustHave(1, 8)
		if fresh := s.link.Fresh(); fresh.Epoch != s.epoch || fresh.Head != 8 {
			t.Fatalf("%+v", fresh)
		}
		if s.skips == skips {
			t.Fatal("the caches of keys must be emptied")
		}
	})
}

func TestUnsignedAndForeignMessagesChangeNothing(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		s.change(func(a *authority) {
			m := a.revoke(jti(1))
			a.raws, a.chains = nil, a.chains[:1]
			m.Header.Del(events.HeaderSignature)
			s.wire.live(m)
			otherKind := a.signed(events.KindProof, m.Data)
			s.wire.live(otherKind)
			m = a.signed(events.KindFeed, []byte(`{"epoch":"x"}`))
			s.wire.live(m)
		})
		synctest.Wait()
		if s.set.Len() != 0 || s.link.Stats().BadMessages != 3 {
			t.Fatalf("%+v", s.link.Stats())
		}
	})
}

func TestProofUnderAnUnknownFeedKeyDoesNotCount(t *testing.T) {
	inScene(t, func(a *authority) { a.badProofs = true }, func(s *scene) {
		s.pass(20 * time.Second)
		s.mustNotBeReady()
		if n := s.times("feed keys"); n < 2 || n > 6 {
			t.Fatalf("feed keys loaded %d times in 20 s", n)
		}
		s.change(func(a *authority) { a.badProofs = false })
		s.pass(time.Second)
		s.mustBeReady()
	})
}

func TestKeyRotationIsFollowed(t *testing.T) {
	for name, announced := range map[string]bool{"by the event": true, "by the proof alone": false} {
		t.Run(name, func(t *testing.T) {
			inScene(t, nil, func(s *scene) {
				s.pass(time.Second)
				s.change(func(a *authority) {
					a.rotate('t', 'u')
					if announced {
						s.wire.live(a.add(events.KeysChanged{Hash: a.keySetHash()}))
					}
				})
				if announced {
					synctest.Wait()
				} else {
					s.pass(time.Second)
				}
				if s.link.Keys().Hash != s.keySetHash() || len(s.link.Keys().ByKID) != 2 {
					t.Fatalf("keys %+v", s.link.Keys())
				}
				s.pass(time.Second)
				if age := s.link.Stats().ProofAge; age > time.Second {
					t.Fatalf("stale for %v", age)
				}
			})
		})
	}
}

func TestKeyRotationIsFollowedPastASilentReplica(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		s.change(func(a *authority) {
			a.rotate('t', 'u')
			a.lostKeys = 3
			s.wire.live(a.add(events.KeysChanged{Hash: a.keySetHash()}))
		})
		s.pass(1500 * time.Millisecond)
		if s.link.Keys().Hash != s.keySetHash() {
			t.Fatal("the new keys aren't known")
		}
		if age := s.link.Stats().ProofAge; age > time.Second {
			t.Fatalf("stale for %v", age)
		}
	})
}

func TestRetiredTokenKeyNeverComesBack(t *testing.T) {
	inScene(t, func(a *authority) { a.rotate('t', 'u') }, func(s *scene) {
		s.pass(time.Second)
		s.change(func(a *authority) { a.rotate('u') })
		s.pass(2 * time.Second)
		s.change(func(a *authority) { a.rotate('t', 'u') })
		s.pass(2 * time.Second)
		kid := events.Thumbprint(newKey('t').Public().(ed25519.PublicKey))
		if _, back := s.link.Keys().ByKID[kid]; back {
			t.Fatal("it is back")
		}
		if age := s.link.Stats().ProofAge; age > time.Second {
			t.Fatalf("stale for %v", age)
		}
	})
}

func TestUnknownKidsShareOneFetchAfterEachPause(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		before := s.times(events.KeysSubject(testService))
		want := func(fetches int) {
			t.Helper()
			if got := s.times(events.KeysSubject(testService)) - before; got != fetches {
				t.Fatalf("%d fetches, want %d", got, fetches)
			}
		}
		if err := s.link.RefreshKeys(context.Background(), "unknown"); err != nil {
			t.Fatal(err)
		}
		want(1)
		began := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if err := s.link.RefreshKeys(context.Background(), "unknown"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if waited := time.Since(began); waited < unknownKidPause-time.Millisecond || waited > unknownKidPause+time.Millisecond {
			t.Errorf("they waited for %v", waited)
		}
		want(2)
	})
}

// What was asked for before a token came tells nothing of a key that is younger.
func TestAnUnknownKidIsNotDeniedByAFetchFromBefore(t *testing.T) {
	for name, after := range map[string]time.Duration{"in the pause after it": time.Millisecond, "while it is in progress": 0} {
		t.Run(name, func(t *testing.T) {
			inScene(t, nil, func(s *scene) {
				s.pass(time.Second)
				go func() { _ = s.link.RefreshKeys(context.Background(), "unknown") }()
				s.pass(after)
				s.change(func(a *authority) { a.rotate('z') })
				kid := events.Thumbprint(newKey('z').Public().(ed25519.PublicKey))
				if err := s.link.RefreshKeys(context.Background(), kid); err != nil {
					t.Fatal(err)
				}
				if _, known := s.link.Keys().ByKID[kid]; !known {
					t.Error("it is called unknown")
				}
			})
		})
	}
}

// After an emergency everybody shows tokens of the key that was dropped: their 401 must not wait, nor crowd out who has a new one.
func TestAKeyThatLeftTheSetIsNotLookedFor(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		var dropped string
		for dropped = range s.link.Keys().ByKID {
			break
		}
		s.change(func(a *authority) { a.rotate('z') })
		if err := s.link.RefreshKeys(context.Background(), "unknown"); err != nil {
			t.Fatal(err)
		}
		before, began := s.times(events.KeysSubject(testService)), time.Now()
		for range mostWaiting + 1 {
			if err := s.link.RefreshKeys(context.Background(), dropped); err != nil {
				t.Fatal(err)
			}
		}
		if fetches := s.times(events.KeysSubject(testService)) - before; fetches != 0 || time.Since(began) != 0 {
			t.Errorf("%d fetches, waited %v", fetches, time.Since(began))
		}
	})
}

func TestAfterAFetchThatFailedUnknownKidsDoNotWait(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		s.change(func(a *authority) { a.silent = true })
		for range 2 { // the second is within the pause, and knows no more than the first
			if err := s.link.RefreshKeys(context.Background(), "unknown"); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("nobody answers: %v", err)
			}
		}
		s.change(func(a *authority) { a.silent = false })
		s.pass(unknownKidPause)
		if err := s.link.RefreshKeys(context.Background(), "unknown"); err != nil {
			t.Fatalf("somebody answers again: %v", err)
		}
	})
}

func TestTheCrowdThatWaitsForUnknownKidsIsBounded(t *testing.T) {
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		if err := s.link.RefreshKeys(context.Background(), "unknown"); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var crowded atomic.Int64
		for range mostWaiting + 10 {
			all.Go(func() {
				if errors.Is(s.link.RefreshKeys(context.Background(), "unknown"), ErrCrowded) {
					crowded.Add(1)
				}
			})
		}
		all.Wait()
		if crowded.Load() != 10 {
			t.Errorf("%d were sent away", crowded.Load())
		}
	})
}

func TestRequestFailsClosed(t *testing.T) {
	for name, disturb := range map[string]func(*scene){
		"no responder":  func(s *scene) { s.change(func(a *authority) { a.silent = true }) },
		"not connected": func(s *scene) { s.wire.cut() },
		"refused":       func(s *scene) { s.change(func(a *authority) { a.busy = 1 }) },
		"bad signature": func(s *scene) { s.change(func(a *authority) { a.signer = events.NewSigner("other", newKey('f')) }) },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, revokeAll(1), func(s *scene) {
				s.pass(time.Second)
				disturb(s)
				request := encode(events.SnapshotRequest{Epoch: s.epoch, From: 1})
				body, err := s.link.Request(context.Background(), events.KindFeed, events.SnapshotSubject(testService), request)
				if !errors.Is(err, ErrUnavailable) || body != nil {
					t.Fatalf("got %q, %v", body, err)
				}
			})
		})
	}
}

// requestLater asks for a page in a goroutine, within the second that an elite call has.
func (s *scene) requestLater() <-chan error {
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		request := encode(events.SnapshotRequest{Epoch: s.epoch, From: 1})
		_, err := s.link.Request(ctx, events.KindFeed, events.SnapshotSubject(testService), request)
		done <- err
	}()
	return done
}

func TestRequestWaitsForTheConnectionThatIsBeingMadeAnew(t *testing.T) {
	for name, breakIt := range map[string]func(*scene){
		"known to be broken": func(s *scene) { s.wire.cut() },
		"not yet known":      func(s *scene) { s.wire.fail() },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, revokeAll(1), func(s *scene) {
				s.pass(time.Second)
				breakIt(s)
				answered := s.requestLater()
				s.pass(300 * time.Millisecond)
				if n := len(answered); n > 0 {
					t.Fatalf("ended without a connection: %v", <-answered)
				}
				s.wire.mend()
				s.pass(time.Millisecond)
				if err := <-answered; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestRequestDoesNotWaitLongForAConnectionThatStaysAway(t *testing.T) {
	inScene(t, revokeAll(1), func(s *scene) {
		s.pass(time.Second)
		s.wire.cut()
		for _, c := range []struct{ after, atMost time.Duration }{{0, time.Second}, {reconnectPatience, 0}} {
			s.pass(c.after)
			began := time.Now()
			if err := <-s.requestLater(); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(began); took > c.atMost {
				t.Errorf("it took %v", took)
			}
		}
	})
}

func TestCloseEndsEverythingAtAnyMoment(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 150 * time.Millisecond, time.Second} {
		inScene(t, func(a *authority) { revokeAll(5)(a); a.stream, a.busy = nil, 1000 }, func(s *scene) {
			s.pass(after)
		})
		inScene(t, func(a *authority) { a.silent = true }, func(s *scene) { s.pass(after) })
	}
	inScene(t, nil, func(s *scene) {
		s.pass(time.Second)
		_ = s.link.Close()
		if err := s.link.RefreshKeys(context.Background(), "unknown"); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("after Close: %v", err)
		}
	})
}

func TestReadySaysWhatIsMissing(t *testing.T) {
	inScene(t, func(a *authority) { a.silent = true }, func(s *scene) {
		s.pass(time.Second)
		if err := s.link.Ready(time.Minute); err == nil || err.Error() != "no feed keys: load feed keys: connection refused" {
			t.Fatalf("got %v", err)
		}
	})
}
