package httpapi

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// Reports are public, so they are bounded: each address may send a burst of reports, and then one a second.
const (
	reportInterval  = time.Second
	reportBurst     = 30
	reportAddresses = 1 << 14
	// reportsAtOnce are looked into at the same time.
	reportsAtOnce = 4
	// reportPace: answers come at multiples of it, so that their time doesn't tell whether a key was known.
	reportPace = 500 * time.Millisecond
)

// reports guard the one call that takes secrets of anybody from anybody.
type reports struct {
	throttle *throttle
	places   chan struct{}
	pace     time.Duration
}

func newReports() *reports {
	return &reports{throttle: newThrottle(reportInterval, reportBurst, reportAddresses), places: make(chan struct{}, reportsAtOnce), pace: reportPace}
}

type reportInput struct {
	Body struct {
		Keys []string `json:"keys" maxItems:"100" doc:"As they were found, with nothing cut off"`
	}
}

// foundByGitHub is what GitHub's secret scanning tells its partners of one match. Members may be added to it.
type foundByGitHub struct {
	Token string   `json:"token"`
	_     struct{} `additionalProperties:"true"`
}

type githubInput struct {
	Body []foundByGitHub `minItems:"1" maxItems:"100"`
}

func (s *Server) registerKeyReports() {
	public(s, call{method: post, path: "/v1/keys/report", id: "report-keys", tag: tagKeys, status: 202,
		summary: "Report keys that have leaked: those that exist are revoked. The answer is always the same"}, s.postKeyReport)
	public(s, call{method: post, path: "/v1/keys/report/github", id: "report-keys-github", tag: tagKeys, status: 202, foreign: true,
		summary: "The same in the form of GitHub's secret scanning partner programme, of which only token is read"}, s.postGitHubReport)
}

func (s *Server) postKeyReport(ctx context.Context, in *reportInput) (*struct{}, error) {
	return nil, s.report(ctx, in.Body.Keys)
}

func (s *Server) postGitHubReport(ctx context.Context, in *githubInput) (*struct{}, error) {
	keys := make([]string, 0, len(in.Body))
	for _, match := range in.Body {
		keys = append(keys, match.Token)
	}
	return nil, s.report(ctx, keys)
}

// report returns after the keys are dead, and tells nothing else.
func (s *Server) report(ctx context.Context, keys []string) error {
	from := clientFrom(ctx)
	if !s.reports.throttle.allow(networkOf(from.IP), s.now()) {
		return auth.ErrThrottled
	}
	return paced(ctx, s.reports.pace, func() error {
		select {
		case s.reports.places <- struct{}{}:
			defer func() { <-s.reports.places }()
		case <-ctx.Done():
			return ctx.Err()
		}
		report, err := s.auth.ReportKeys(ctx, keys, from)
		s.metrics.reported(report)
		return err
	})
}

// paced does something, and returns at a multiple of pace after it began.
func paced(ctx context.Context, pace time.Duration, do func() error) error {
	began := time.Now()
	err := do()
	timer := time.NewTimer(pace - time.Since(began)%pace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}
