package elite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/turns"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Question is one of the kinds; it is the third token of the subject.
type Question string

// The questions.
const (
	Check    Question = "check"
	Resolve  Question = "resolve"
	Keys     Question = "keys"
	Snapshot Question = "snapshot"
	Quota    Question = "quota"
)

// subjects are what is subscribed to, for every service.
var subjects = map[Question]string{
	Check:    events.CheckSubject("*"),
	Resolve:  events.ResolveSubject("*"),
	Keys:     events.KeysSubject("*"),
	Snapshot: events.SnapshotSubject("*"),
	Quota:    events.QuotaSubject("*"),
}

const (
	// patience is how long askers wait. A question that has waited longer for a worker is dropped.
	patience      = time.Second
	probeInterval = 500 * time.Millisecond
	probeTimeout  = 400 * time.Millisecond
	// pendingLimit and pendingBytes bound what waits for the callbacks, which only sort questions into queues.
	pendingLimit = 4096
	pendingBytes = pendingLimit * events.MaxRequest
)

// defaultShares, of questions that have a read of their own, keep a quarter of the workers out of any one service's reach.
var defaultShares = turns.Shares{Workers: 8, Running: 6, Queued: 128, Total: 1024, Batch: 1}

// replyShares: more workers than processors, because some may wait for the bus.
var replyShares = turns.Shares{Workers: 4, Running: 3, Queued: 1024, Total: 8192, Batch: 16}

// Config is what the responders need.
type Config struct {
	// Conn answers questions; it must be allowed to subscribe to them in the queue group [events.QueueGroup].
	Conn *nats.Conn
	// Up reports whether Conn is connected, without waiting. Default: what Conn says, which may wait.
	Up     func() bool
	Store  Store
	Gather Gatherer // MUST be closed after the responders
	Ring   Ring
	Pages  Pages
	Quotas Quotas
	Log    *slog.Logger
	// Observe is called after each question with how it ended and how long it took from arrival. It may be nil.
	Observe func(q Question, outcome Outcome, took time.Duration)

	shares, quotaShares                                  turns.Shares
	patience, quotaPatience, probeInterval, probeTimeout time.Duration
}

// queryTimeout leaves time to answer before the asker gives up.
func (c *Config) queryTimeout() time.Duration { return c.patience * 9 / 10 }

func (c *Config) setDefaults() {
	if c.shares == (turns.Shares{}) {
		c.shares = defaultShares
	}
	if c.quotaShares == (turns.Shares{}) {
		c.quotaShares = quotaShares
	}
	c.patience = cmp.Or(c.patience, patience)
	c.quotaPatience = cmp.Or(c.quotaPatience, quotaPatience)
	c.probeInterval = cmp.Or(c.probeInterval, probeInterval)
	c.probeTimeout = cmp.Or(c.probeTimeout, probeTimeout)
	if c.Up == nil {
		c.Up = c.Conn.IsConnected
	}
	if c.Observe == nil {
		c.Observe = func(Question, Outcome, time.Duration) {}
	}
}

// Outcome is how a question ended.
type Outcome string

// The outcomes.
const (
	Answered Outcome = "answered"
	Refused  Outcome = "refused" // it can't be understood
	Gone     Outcome = "gone"
	Busy     Outcome = "busy"
	Failed   Outcome = "failed" // the database
	Late     Outcome = "late"   // nobody waits for it any more
)

// Responders answer until they are closed. They are safe for concurrent use.
type Responders struct {
	cfg     Config
	answers responder
	pool    *turns.Pool[arrival] // runs what has a read of its own
	// replies judges, signs and sends what was read with others: those who read have others waiting for them, and a bus that has
	// gone silent holds up who sends.
	replies *turns.Pool[reading]
	quotas  *turns.Pool[arrival]
	// refusals tells those whom quotas has no room for.
	refusals *turns.Pool[arrival]
	// gathered counts what shares a read and isn't answered yet; answered is sent on, if there is room, when there is one less.
	gathered atomic.Int64
	answered chan struct{}
	suspect  chan struct{} // a query failed: probe now
	stop     chan struct{}
	watched  sync.WaitGroup
	// queries ends the queries that are running when Close has no time left.
	queries context.Context
	cancel  context.CancelFunc

	serving atomic.Bool
	subs    []*subscription // owned by the watch, and by Close after it
}

// subscription is one that tells when its last message was handled.
type subscription struct {
	*nats.Subscription
	closed chan struct{}
}

// Start begins to answer, unless the database can't be read: then it begins as soon as that can be done. The error is of
// the subscriptions.
func Start(ctx context.Context, cfg Config) (*Responders, error) {
	cfg.setDefaults()
	r := &Responders{
		cfg:      cfg,
		answers:  responder{store: cfg.Store, ring: cfg.Ring, pages: cfg.Pages},
		answered: make(chan struct{}, 1),
		suspect:  make(chan struct{}, 1),
		stop:     make(chan struct{}),
	}
	r.queries, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.pool = turns.New(cfg.shares, func(batch []arrival) { r.work(batch[0]) })
	r.replies = turns.New(replyShares, r.reply)
	r.quotas = turns.New(cfg.quotaShares, r.settle)
	r.refusals = turns.New(refusalShares, r.refuse)
	if err := r.look(); err != nil {
		r.cancel()
		r.pool.Close()
		r.replies.Close()
		r.quotas.Close()
		r.refusals.Close()
		return nil, err
	}
	r.watched.Go(r.watch)
	return r, nil
}

// Serving reports whether questions are taken now.
func (r *Responders) Serving() bool { return r.serving.Load() }

// watch withdraws the subscriptions while the database can't be read.
func (r *Responders) watch() {
	ticker := time.NewTicker(r.cfg.probeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C:
		case <-r.suspect:
		}
		if err := r.look(); err != nil {
			r.cfg.Log.Error("elite: can't subscribe", "error", err)
		}
	}
}

// look probes the database and makes the subscriptions follow. A single failed query isn't enough to withdraw: it
// might be the question's own fault, and then one service could silence the responders for all.
func (r *Responders) look() error {
	ctx, cancel := context.WithTimeout(r.queries, r.cfg.probeTimeout)
	defer cancel()
	err := r.cfg.Store.Readable(ctx)
	switch {
	case err != nil && r.serving.Load():
		r.cfg.Log.Warn("elite: the database can't be read; responders withdrawn", "error", err)
		r.withdraw()
	case err == nil && !r.serving.Load():
		return r.subscribe()
	}
	return nil
}

func (r *Responders) subscribe() error {
	for question, subject := range subjects {
		sub, err := r.subscribeTo(question, subject)
		if err != nil {
			r.withdraw()
			return err
		}
		r.subs = append(r.subs, sub)
	}
	r.serving.Store(true)
	r.cfg.Log.Info("elite: answering")
	if !r.cfg.Up() {
		return nil // the subscriptions are sent when it is
	}
	ctx, cancel := context.WithTimeout(r.queries, r.cfg.patience)
	defer cancel()
	if err := r.cfg.Conn.FlushWithContext(ctx); err != nil {
		r.cfg.Log.Warn("elite: the bus is slow to take the subscriptions", "error", err)
	}
	return nil
}

func (r *Responders) subscribeTo(question Question, subject string) (*subscription, error) {
	sub, err := r.cfg.Conn.QueueSubscribe(subject, events.QueueGroup, func(m *nats.Msg) { r.take(question, m) })
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	s := &subscription{Subscription: sub, closed: make(chan struct{})}
	sub.SetClosedHandler(func(string) { close(s.closed) })
	return s, errors.Join(sub.SetPendingLimits(pendingLimit, pendingBytes))
}

// withdraw ends the subscriptions; what has arrived is still handled. The returned channels tell when.
func (r *Responders) withdraw() (ended []<-chan struct{}) {
	r.serving.Store(false)
	for _, sub := range r.subs {
		end := sub.Drain
		if !r.cfg.Up() {
			end = sub.Unsubscribe // a drain would wait for the server
		}
		if err := end(); err != nil {
			continue // the connection has closed, and the subscription with it
		}
		ended = append(ended, sub.closed)
	}
	r.subs = nil
	return ended
}

// arrival is a question and when it came.
type arrival struct {
	question Question
	*nats.Msg
	at time.Time
}

// take is the callback of every subscription: it sorts a question into its service's queue and never blocks.
func (r *Responders) take(question Question, m *nats.Msg) {
	a := arrival{question, m, time.Now()}
	service := serviceOf(m.Subject)
	if !events.ValidReply(m.Reply) || !events.ValidService(service) {
		return // nobody to answer
	}
	if len(m.Data) > events.MaxRequest { // it would wait in a queue that is bounded by number
		r.finish(a, feed.Message{}, fmt.Errorf("%w: %d bytes", events.ErrInvalid, len(m.Data)))
		return
	}
	switch question {
	case Check, Resolve:
		r.gather(service, a)
	case Quota:
		if !r.quotas.Submit(service, a) {
			r.putOff(a)
		}
	default:
		if !r.pool.Submit(service, a) {
			r.finish(a, feed.Message{}, feed.ErrBusy)
		}
	}
}

// gather has a question read with others.
func (r *Responders) gather(service string, a arrival) {
	asked, err := r.answers.inquire(a.question, a.Data)
	if err != nil {
		r.finish(a, feed.Message{}, err)
		return
	}
	r.gathered.Add(1)
	if !r.cfg.Gather.Submit(service, asked.Question, func(state store.State, err error) {
		if !r.replies.Submit(service, reading{a, asked, state, err}) {
			r.finish(a, feed.Message{}, liveness.ErrLate) // what is sent already waits for too long
			r.ungather()
		}
	}) {
		r.finish(a, feed.Message{}, feed.ErrBusy)
		r.ungather()
	}
}

// reading is what was read for a question.
type reading struct {
	arrival
	asked inquiry
	state store.State
	err   error
}

func (r *Responders) reply(batch []reading) {
	for _, one := range batch {
		var answer feed.Message
		err := one.err
		if err == nil {
			answer, err = one.asked.answer(one.state)
		}
		r.finish(one.arrival, answer, err)
		r.ungather()
	}
}

func (r *Responders) work(a arrival) {
	if time.Since(a.at) > r.cfg.patience {
		r.finish(a, feed.Message{}, liveness.ErrLate)
		return
	}
	ctx, cancel := context.WithTimeout(r.queries, r.cfg.queryTimeout())
	defer cancel()
	page, err := r.answers.answer(ctx, a.question, a.Data)
	r.finish(a, page, err)
}

func (r *Responders) finish(a arrival, page feed.Message, err error) {
	outcome := Late // nobody waits for an answer
	if !errors.Is(err, liveness.ErrLate) {
		var answer *nats.Msg
		outcome, answer = r.message(a.question, page, err)
		if err := a.RespondMsg(answer); err != nil {
			r.cfg.Log.Debug("elite: answer not sent", "question", a.question, "error", err)
		}
	}
	r.cfg.Observe(a.question, outcome, time.Since(a.at))
}

// message makes the message for a page or an error: the one place that knows the bus's codes.
func (r *Responders) message(question Question, page feed.Message, err error) (Outcome, *nats.Msg) {
	switch {
	case err == nil:
		return Answered, signedMessage(page)
	case errors.Is(err, feed.ErrBusy) && page.Body != nil:
		return Busy, signedMessage(page)
	case errors.Is(err, feed.ErrBusy):
		return Busy, refusal(events.ErrorBusy)
	case errors.Is(err, feed.ErrGone):
		return Gone, refusal(events.ErrorGone)
	case errors.Is(err, events.ErrInvalid):
		return Refused, refusal(events.ErrorInvalid)
	}
	r.cfg.Log.Warn("elite: question failed", "question", question, "error", err)
	select {
	case r.suspect <- struct{}{}:
	default:
	}
	return Failed, refusal(events.ErrorBusy) // another replica may be able to
}

func signedMessage(m feed.Message) *nats.Msg {
	header := nats.Header{events.HeaderKey: {m.Key}, events.HeaderSignature: {m.Signature}}
	if m.Form != "" {
		header.Set(events.HeaderForm, m.Form)
	}
	return &nats.Msg{Data: m.Body, Header: header}
}

func refusal(code string) *nats.Msg {
	return &nats.Msg{Header: nats.Header{events.HeaderError: {code}}}
}

// Close takes no more questions, answers those that have arrived, and returns when the answers are on their way. When ctx
// ends first, running queries are cancelled.
func (r *Responders) Close(ctx context.Context) error {
	defer r.cancel()
	close(r.stop)
	r.watched.Wait()
	stopHurrying := context.AfterFunc(ctx, r.cancel)
	defer stopHurrying()
	for _, ended := range r.withdraw() {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	r.pool.Close()
	r.quotas.Close()
	r.refusals.Close() // after the quotas, which put off
	r.awaitGathered(ctx)
	r.replies.Close()
	if !r.cfg.Up() {
		return ctx.Err()
	}
	flushing, cancel := context.WithTimeout(ctx, r.cfg.patience)
	defer cancel()
	if err := r.cfg.Conn.FlushWithContext(flushing); err != nil {
		return fmt.Errorf("close elite responders: %w", err)
	}
	return nil
}

func (r *Responders) ungather() {
	r.gathered.Add(-1)
	select {
	case r.answered <- struct{}{}:
	default:
	}
}

// awaitGathered waits until what was submitted is answered, as long as there is time. The rest is the gatherer's to end.
func (r *Responders) awaitGathered(ctx context.Context) {
	for r.gathered.Load() > 0 {
		select {
		case <-r.answered:
		case <-ctx.Done():
			return
		}
	}
}
