package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// headStart is how long the server that took writes last is tried alone. The others are tried beside it then: a machine
// that is gone answers nothing, and to wait for it each time would use up the second that an elite question has.
const headStart = 100 * time.Millisecond

// pingPatience is how long a server may be silent while there are others: the pool tries two connections before it makes
// one, all within the second of an elite question.
const pingPatience = 200 * time.Millisecond

// primary is which of a URL's servers took writes when a connection was made last. All pools of a process share it.
type primary struct{ host atomic.Int32 }

// hosts connects to the one of a URL's servers that takes writes.
type hosts struct {
	each    []driver.Connector
	primary *primary
}

// newHosts makes a connector; prepare runs on each new connection.
func newHosts(config *pgx.ConnConfig, p *primary, prepare func(context.Context, *pgx.Conn) error) *hosts {
	h := &hosts{primary: p}
	for i, one := range perHost(config) {
		host := int32(i)
		h.each = append(h.each, stdlib.GetConnector(*one,
			stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
				conn.PgConn().CustomData()[hostKey] = host
				return prepare(ctx, conn)
			}),
			stdlib.OptionShouldPing(h.shouldPing),
			stdlib.OptionResetSession(func(_ context.Context, conn *pgx.Conn) error {
				if conn.IsClosed() || !p.isOn(conn) { // another one has been promoted: what was the primary may be silent
					return driver.ErrBadConn
				}
				return nil
			})))
	}
	return h
}

const hostKey = "tocsin.host"

// shouldPing is for connections that the pool is about to give out again. Where there is another host to go to, one that
// hasn't been used for a second is given up, closed, when it is silent; a connection that is then made finds the primary.
func (h *hosts) shouldPing(ctx context.Context, c stdlib.ShouldPingParams) bool {
	if c.IdleDuration <= time.Second || !h.primary.isOn(c.Conn) {
		return false
	}
	if len(h.each) == 1 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	return c.Conn.Ping(ctx) != nil && !c.Conn.IsClosed()
}

func (p *primary) isOn(conn *pgx.Conn) bool {
	return conn.PgConn().CustomData()[hostKey] == p.host.Load()
}

// perHost splits a configuration by server; the ways to speak to one of them, such as with and without TLS, stay together.
func perHost(config *pgx.ConnConfig) (all []*pgx.ConnConfig) {
	var last string
	add := func(host string, port uint16) (*pgx.ConnConfig, bool) {
		address := net.JoinHostPort(host, strconv.Itoa(int(port)))
		if address == last {
			return all[len(all)-1], false
		}
		one := config.Copy()
		one.Host, one.Port, one.Fallbacks, last = host, port, nil, address
		all = append(all, one)
		return one, true
	}
	add(config.Host, config.Port)
	for _, fallback := range config.Fallbacks {
		if one, first := add(fallback.Host, fallback.Port); first {
			one.TLSConfig = fallback.TLSConfig
		} else {
			one.Fallbacks = append(one.Fallbacks, fallback)
		}
	}
	return all
}

// Driver implements driver.Connector.
func (h *hosts) Driver() driver.Driver { return h.each[0].Driver() }

// attempt is what became of a connection to one host.
type attempt struct {
	host int
	conn driver.Conn
	err  error
}

// Connect implements driver.Connector. When it returns, no attempt is left running.
func (h *hosts) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	results, running := make(chan attempt), 0
	try := func(host int) {
		running++
		go func() {
			conn, err := h.each[host].Connect(ctx)
			results <- attempt{host, conn, err}
		}()
	}
	defer func() {
		cancel()
		for ; running > 0; running-- {
			if late := <-results; late.err == nil {
				late.conn.Close()
			}
		}
	}()
	first := int(h.primary.host.Load())
	try(first)
	alone := time.NewTimer(headStart)
	defer alone.Stop()
	var failed []error
	for all := false; ; {
		select {
		case <-alone.C:
		case got := <-results:
			running--
			if got.err == nil {
				h.primary.host.Store(int32(got.host))
				return &postgresConn{Conn: got.conn.(*stdlib.Conn)}, nil
			}
			if failed = append(failed, got.err); len(failed) == len(h.each) {
				return nil, errors.Join(failed...)
			}
		}
		for host := 0; !all && host < len(h.each); host++ {
			if host != first {
				try(host)
			}
		}
		all = true
	}
}
