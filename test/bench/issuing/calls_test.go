package issuing

import (
	"encoding/json"
	"fmt"
	"net/url"
	"sync"

	"github.com/tocsin-auth/tocsin/test/system"
)

// session is what a login gave.
type session struct {
	user    *user
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// user is a registered user.
type user struct{ name, key string }

const password = "a long enough passphrase for all"

// client makes one call after the other.
type client struct {
	*wire
	bench *bench
	// held is the session that it refreshes.
	held session
}

// do makes one call.
func (c *client) do(want int, r request) ([]byte, error) {
	status, body, err := c.post(r)
	if err == nil && status != want {
		err = fmt.Errorf("%s: %d %s", r.path, status, body)
	}
	return body, err
}

const contentJSON = "application/json"

func (c *client) register() error {
	u := &user{name: c.bench.newName()}
	body, err := c.do(201, request{path: "/v1/register", contentType: contentJSON,
		body: `{"username":"` + u.name + `","password":"` + password + `"}`})
	if err != nil {
		return err
	}
	var made struct {
		Keys []struct{ Key string } `json:"api_keys"`
	}
	if err := json.Unmarshal(body, &made); err != nil {
		return err
	}
	u.key = made.Keys[0].Key
	c.bench.users.add(u)
	return nil
}

func (c *client) login() error {
	u := c.bench.users.next()
	s, err := c.open(u)
	if err == nil {
		c.bench.sessions.add(s)
	}
	return err
}

func (c *client) open(u *user) (session, error) {
	s := session{user: u}
	body, err := c.do(200, request{path: "/v1/login", contentType: contentJSON,
		body: `{"username":"` + u.name + `","password":"` + password + `"}`})
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

func (c *client) refresh() error {
	body, err := c.do(200, request{path: "/v1/token/refresh", contentType: contentJSON,
		body: `{"refresh_token":"` + c.held.Refresh + `"}`})
	if err != nil {
		return err
	}
	return json.Unmarshal(body, &c.held)
}

// errSpent means that there is no session left to end.
var errSpent = fmt.Errorf("no session left")

func (c *client) logout(query string) error {
	s, ok := c.bench.sessions.take()
	if !ok {
		return errSpent
	}
	_, err := c.do(204, request{path: "/v1/logout" + query, authorization: system.Bearer(s.Access)})
	return err
}

func (c *client) revoke(query string) error {
	s, ok := c.bench.sessions.take()
	if !ok {
		return errSpent
	}
	_, err := c.do(200, request{path: "/oauth2/revoke" + query, authorization: system.Key(s.user.key),
		contentType: "application/x-www-form-urlencoded", body: "token=" + url.QueryEscape(s.Access)})
	return err
}

// pool is what calls have made for others.
type pool[T any] struct {
	mu  sync.Mutex
	all []T
	at  int
}

func (p *pool[T]) add(one T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, one)
}

// next goes round.
func (p *pool[T]) next() T {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at++
	return p.all[p.at%len(p.all)]
}

func (p *pool[T]) take() (one T, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.all) == 0 {
		return one, false
	}
	one = p.all[len(p.all)-1]
	p.all = p.all[:len(p.all)-1]
	return one, true
}

func (p *pool[T]) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all)
}
