package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
)

// maxAnswer is more than a job of which payload, result and id are as large as they may be.
const maxAnswer = 128 << 10

// answer is what came back. A proxy or a gateway may have written it, which knows nothing of the request but that nobody
// was there to take it.
type answer struct {
	status  int
	problem bool // RFC 9457, as all refusals of the service are
	body    []byte
}

// send sends a request. Credentials and bodies are in none of its errors.
func send(ctx context.Context, client *http.Client, method, address, authorization string, in any) (answer, error) {
	body, err := encode(in)
	if err != nil {
		return answer{}, err
	}
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return answer{}, errors.New("the URL is malformed")
	}
	r.Header.Set("Authorization", authorization)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(r)
	if err != nil {
		return answer{}, unsent(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("its answer broke off: %w", err)
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")) // what can't be read is no problem
	return answer{res.StatusCode, media == "application/problem+json", got}, nil
}

// encode escapes nothing for HTML, so that what was small enough stays so.
func encode(in any) ([]byte, error) {
	if in == nil {
		return nil, nil
	}
	var body bytes.Buffer
	out := json.NewEncoder(&body)
	out.SetEscapeHTML(false)
	err := out.Encode(in)
	return body.Bytes(), err
}

// unsent tells who could not be reached, and so did nothing, from who didn't answer.
func unsent(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("%w: %w", errAway, dial)
	}
	return err
}

// decode reads an answer of the service. What isn't known to come of it says nothing about the request.
func (a answer) decode(out any) error {
	switch {
	case a.status == http.StatusNoContent || a.status == http.StatusOK && out == nil:
		return nil
	case a.status == http.StatusOK:
		if err := json.Unmarshal(a.body, out); err != nil {
			return errors.New("its answer is not the expected JSON")
		}
		return nil
	case a.status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: it answered %d", errBusy, a.status)
	case a.isRefusal() && (a.status == http.StatusNotFound || a.status == http.StatusConflict):
		return fmt.Errorf("%w: %w", errGone, a.refusal())
	case a.isRefusal():
		return a.refusal()
	}
	return fmt.Errorf("%w: it answered %d", errAway, a.status)
}

// isRefusal reports whether the service itself refuses the request. For a request that is bad in itself anybody may do so.
func (a answer) isRefusal() bool {
	switch a.status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	}
	return a.problem && a.status >= 400
}

func (a answer) refusal() *refusal {
	var p struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.body, &p) // who answers without a code has none
	return &refusal{a.status, code(p.Code)}
}

// code returns a code of a refusal as it may be logged.
func code(s string) string {
	if len(s) > 40 || !isWord(s) {
		return ""
	}
	return s
}

func isWord(s string) bool {
	for _, r := range s {
		if r != '_' && (r < 'a' || r > 'z') {
			return false
		}
	}
	return true
}
