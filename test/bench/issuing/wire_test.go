package issuing

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// wire is one kept connection to authsvc. It is for one goroutine.
type wire struct {
	host string
	conn net.Conn
	in   *bufio.Reader
	out  bytes.Buffer
	body bytes.Buffer
}

// patience is how long one call may take before the run fails.
const patience = 2 * time.Minute

func dial(base string) (*wire, error) {
	host := strings.TrimPrefix(base, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	return &wire{host: host, conn: conn, in: bufio.NewReader(conn)}, nil
}

// request is a POST.
type request struct{ path, authorization, contentType, body string }

// post sends a request and reads the whole answer, which is valid until the next one.
func (w *wire) post(r request) (status int, body []byte, err error) {
	w.out.Reset()
	fmt.Fprintf(&w.out, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: issuing\r\nContent-Length: %d\r\n", r.path, w.host, len(r.body))
	if r.contentType != "" {
		fmt.Fprintf(&w.out, "Content-Type: %s\r\n", r.contentType)
	}
	if r.authorization != "" {
		fmt.Fprintf(&w.out, "Authorization: %s\r\n", r.authorization)
	}
	w.out.WriteString("\r\n")
	w.out.WriteString(r.body)
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	if _, err := w.conn.Write(w.out.Bytes()); err != nil {
		return 0, nil, err
	}
	answer, err := http.ReadResponse(w.in, nil)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	w.body.Reset()
	_, err = io.Copy(&w.body, answer.Body)
	return answer.StatusCode, w.body.Bytes(), err
}
