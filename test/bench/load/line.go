package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// answerLimit is how long an answer may take.
const answerLimit = 10 * time.Second

// Line is one connection that is kept, with one request on it at a time. It costs less than a client that can do more, and
// nobody else's request is ever in front. It is not safe for concurrent use.
type Line struct {
	addr string
	conn net.Conn // nil before the first request: servers hang up on who connects and says nothing
	in   *bufio.Reader
	out  bytes.Buffer
}

// NewLine returns a line to a host and port, which connects with its first request.
func NewLine(addr string) *Line { return &Line{addr: addr} }

// Close ends it.
func (l *Line) Close() error {
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}

// Get sends a request with a token and returns the status and body of its answer.
func (l *Line) Get(path, token string) (int, []byte, error) {
	l.out.Reset()
	fmt.Fprintf(&l.out, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, l.addr, token)
	return l.exchange()
}

// Post sends an object as JSON.
func (l *Line) Post(path string, body any) (int, []byte, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	l.out.Reset()
	fmt.Fprintf(&l.out, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, l.addr, len(content), content)
	return l.exchange()
}

func (l *Line) exchange() (int, []byte, error) {
	if err := l.connect(); err != nil {
		return 0, nil, err
	}
	if err := l.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return 0, nil, err
	}
	if _, err := l.conn.Write(l.out.Bytes()); err != nil {
		return 0, nil, err
	}
	res, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

func (l *Line) connect() (err error) {
	if l.conn != nil {
		return nil
	}
	if l.conn, err = net.DialTimeout("tcp", l.addr, answerLimit); err == nil {
		l.in = bufio.NewReader(l.conn)
	}
	return err
}
