package verifiergrpc_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	verifiergrpc "github.com/tocsin-auth/tocsin/pkg/verifier/grpc"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

// ends are what a stream may not outlive.
var ends = map[verifier.Code]func(*verifiertest.Issuer, verifiertest.Caller){
	verifier.CodeRevoked:   func(i *verifiertest.Issuer, c verifiertest.Caller) { i.Revoke(c) },
	verifier.CodeForbidden: func(i *verifiertest.Issuer, c verifiertest.Caller) { i.SetRoles(c.Subject) },
	verifier.CodeExpired:   func(i *verifiertest.Issuer, _ verifiertest.Caller) { i.Advance(time.Hour) },
	verifier.CodeStale:     func(i *verifiertest.Issuer, _ verifiertest.Caller) { i.GoStale() },
}

var codeOf = map[verifier.Code]codes.Code{
	verifier.CodeRevoked: codes.Unauthenticated, verifier.CodeForbidden: codes.PermissionDenied,
	verifier.CodeExpired: codes.Unauthenticated, verifier.CodeStale: codes.Unavailable,
}

// inBubble runs a test for each carrier and each end. In a bubble it is known when everybody waits.
func inBubble(t *testing.T, test func(t *testing.T, s *stage, c verifiertest.Caller, end func(), reason verifier.Code)) {
	for carried, carry := range carriers {
		for reason, end := range ends {
			t.Run(carried+" "+string(reason), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t, policy, carry)
					c := s.issuer.Token(verifier.Principal{})
					test(t, s, c, func() { synctest.Wait(); end(s.issuer, c) }, reason)
				})
			})
		}
	}
}

func TestBoundedAcceptanceAStreamThatWaitsForItsContextEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, s *stage, c verifiertest.Caller, end func(), reason verifier.Code) {
		s.chat = func(ss grpc.ServerStream) error {
			<-ss.Context().Done()
			return nil // a handler that takes any end for a good one
		}
		stream := s.open(c.Authorization())
		end()
		_, err := receive(stream)
		if got := stream.Trailer().Get(verifiergrpc.Trailer); len(got) != 1 || got[0] != string(reason) {
			t.Errorf("trailer %v", got)
		}
		refused(t, err, codeOf[reason], reason)
	})
}

func TestBoundedAcceptanceAStreamThatWaitsToReceiveEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, s *stage, c verifiertest.Caller, end func(), reason verifier.Code) {
		received := make(chan error, 1)
		s.chat = func(ss grpc.ServerStream) error {
			_, err := receive(ss)
			received <- err
			return nil
		}
		stream := s.open(c.Authorization())
		end()
		refused(t, <-received, codeOf[reason], reason)
		if _, err := receive(stream); err == nil || err == io.EOF {
			t.Error(err)
		}
		if got := stream.Trailer().Get(verifiergrpc.Trailer); len(got) != 1 || got[0] != string(reason) {
			t.Errorf("trailer %v", got)
		}
	})
}

func TestBoundedAcceptanceAMessageThatWaitsForASlowClientIsNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T, s *stage, c verifiertest.Caller, end func(), reason verifier.Code) {
		sent := make(chan error, 1)
		s.chat = func(ss grpc.ServerStream) error {
			large := wrapperspb.String(strings.Repeat("x", 1<<20))
			for {
				if err := ss.SendMsg(large); err != nil {
					sent <- err
					return err
				}
			}
		}
		_ = s.open(c.Authorization()) // nobody reads it
		end()
		refused(t, <-sent, codeOf[reason], reason)
	})
}

func TestBoundedAcceptanceNoMessagePassesForADeadCredential(t *testing.T) {
	inBubble(t, func(t *testing.T, s *stage, c verifiertest.Caller, end func(), reason verifier.Code) {
		passed := make(chan error, 3)
		s.chat = func(ss grpc.ServerStream) error { // it never looks at its context
			if _, err := receive(ss); err != nil {
				return err
			}
			ends[reason](s.issuer, c)
			passed <- ss.SendMsg(wrapperspb.String("what nobody may see"))
			passed <- ss.SendHeader(nil)
			_, err := receive(ss)
			passed <- err
			return nil
		}
		stream := s.open(c.Authorization())
		for range 2 {
			if err := stream.SendMsg(wrapperspb.String("hello")); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
		if _, err := receive(stream); err == nil || err == io.EOF {
			t.Error(err)
		}
		for range 3 {
			refused(t, <-passed, codeOf[reason], reason)
		}
	})
}

func TestBoundedAcceptanceALongPollIsNotAnsweredForADeadCredential(t *testing.T) {
	inBubble(t, func(t *testing.T, s *stage, c verifiertest.Caller, end func(), reason verifier.Code) {
		if reason == verifier.CodeForbidden {
			return // the route requires no role
		}
		s.once = func(ctx context.Context) (string, error) {
			ends[reason](s.issuer, c)
			<-ctx.Done()
			return "what nobody may see", nil
		}
		_, err := s.call("/test.Cars/Poll", c.Authorization())
		refused(t, err, codeOf[reason], reason)
	})
}

// net/http calls no tap. Without what stands for it a stream that waits couldn't be ended, so it isn't begun.
func TestBoundedAcceptanceAStreamThatCouldNotBeEndedIsNotBegun(t *testing.T) {
	s := newStage(t, policy, overBareHTTP)
	s.chat = func(grpc.ServerStream) error { t.Error("begun"); return nil }
	alice := s.issuer.Token(verifier.Principal{})
	if _, err := receive(s.open(alice.Authorization())); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "Handler") {
		t.Error(err)
	}
	if _, err := s.call("/test.Cars/List", alice.Authorization()); err != nil { // it is over as soon as it is decided
		t.Error(err)
	}
	s.issuer.Revoke(alice)
	_, err := s.call("/test.Cars/List", alice.Authorization())
	refused(t, err, codes.Unauthenticated, verifier.CodeRevoked)
}

func TestAStreamThatEndsByItselfEndsWell(t *testing.T) {
	for carried, carry := range carriers {
		t.Run(carried, func(t *testing.T) {
			s := newStage(t, policy, carry)
			s.chat = func(ss grpc.ServerStream) error {
				for {
					in := new(wrapperspb.StringValue)
					if err := ss.RecvMsg(in); err == io.EOF {
						return nil
					} else if err != nil {
						return err
					}
					if err := ss.SendMsg(in); err != nil {
						return err
					}
				}
			}
			stream := s.open(s.issuer.Token(verifier.Principal{}).Authorization())
			for _, word := range []string{"a", "b"} {
				if err := stream.SendMsg(wrapperspb.String(word)); err != nil {
					t.Fatal(err)
				}
				if got, err := receive(stream); err != nil || got != word {
					t.Fatal(got, err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if _, err := receive(stream); err != io.EOF {
				t.Error(err)
			}
			if n := s.issuer.Verifier.Stats().LongAnswers; n != 0 {
				t.Errorf("%d long answers are left", n)
			}
		})
	}
}
