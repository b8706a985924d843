package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// caller is one HTTP client with one connection to each service, as a real client keeps.
type caller struct{ client *http.Client }

// reply is what a call got, and how long it took.
type reply struct {
	status  int
	body    []byte
	receipt string
	took    time.Duration
}

// call sends one request. authorization is the header's value, or "".
func (c caller) call(ctx context.Context, method, url, authorization string, in any) (reply, error) {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return reply{}, err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return reply{}, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	began := time.Now()
	res, err := c.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, answer, res.Header.Get("Tocsin-Receipt"), time.Since(began)}, err
}

// decode reads an answer that must have the wanted status.
func decode[T any](r reply, want int) (T, error) {
	var v T
	if r.status != want {
		return v, fmt.Errorf("got %d %s, want %d", r.status, bytes.TrimSpace(r.body), want)
	}
	if len(r.body) == 0 {
		return v, nil
	}
	return v, json.Unmarshal(r.body, &v)
}

// code is the stable code of a refusal.
func (r reply) code() string {
	var p struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(r.body, &p) != nil {
		return ""
	}
	return p.Code
}
