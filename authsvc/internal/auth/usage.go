package auth

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/quota"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// Usage is what counts against one limit of a user's plan.
type Usage struct {
	Resource string    `json:"resource"`
	Window   string    `json:"window"`
	Limit    int64     `json:"limit"`
	Used     int64     `json:"used" doc:"Accepted, as far as the services have told: at most some seconds late"`
	Held     int64     `json:"held" doc:"What instances of services may accept besides without asking, or might have when they ended"`
	ResetsAt time.Time `json:"resets_at"`
	// Services is for admins.
	Services map[string]int64 `json:"services,omitempty" doc:"What each service says that it has accepted"`
}

// UsageList is what counts against each limit of a user's plan.
type UsageList struct {
	Plan  string  `json:"plan"`
	Items []Usage `json:"items"`
}

// OwnUsage returns what the caller's user has used.
func (s *Service) OwnUsage(ctx context.Context, c Caller) (UsageList, error) {
	var list UsageList
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		list, err = usageOf(ctx, tx, c.UserID)
		return err
	})
	for i := range list.Items {
		list.Items[i].Services = nil
	}
	return list, err
}

// UserUsage returns what a user has used, and where, to an admin.
func (s *Service) UserUsage(ctx context.Context, c Caller, id string) (UsageList, error) {
	if err := checkID("id", id); err != nil {
		return UsageList{}, err
	}
	var list UsageList
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		if err = admin(ctx, tx, c); err == nil {
			list, err = usageOf(ctx, tx, id)
		}
		return err
	})
	return list, err
}

func usageOf(ctx context.Context, tx *store.Tx, id string) (UsageList, error) {
	user, err := tx.User(ctx, id)
	if err != nil {
		return UsageList{}, err
	}
	used, err := quota.Read(ctx, tx, user)
	list := UsageList{Plan: user.Plan, Items: make([]Usage, 0, len(used))}
	for _, u := range used {
		list.Items = append(list.Items, Usage{Resource: u.Resource, Window: windowText(u.Seconds), Limit: u.Limit, Used: u.Used, Held: u.Held,
			ResetsAt: fromMicros(u.ResetsAt), Services: u.By})
	}
	return list, err
}

// ResetUsage forgets what a user has spent of a resource, or of all when it is "", for admins.
func (s *Service) ResetUsage(ctx context.Context, c Caller, id, resource string) error {
	if err := checkID("id", id); err != nil {
		return err
	}
	if resource != "" {
		if err := checkName("resource", resource); err != nil {
			return err
		}
	}
	_, err := s.change(ctx, c, func(w *work) error {
		if err := w.lockAdmin(ctx); err != nil {
			return err
		}
		if _, err := w.User(ctx, id); err != nil {
			return err
		}
		reset, err := quota.Reset(ctx, w.Tx, id, resource)
		if err != nil {
			return err
		}
		return w.record(ctx, deed{action: "usage.reset", target: userTarget(id), detail: map[string]any{"resources": reset}})
	})
	return err
}
