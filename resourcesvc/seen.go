package main

import "net/http"

// seen notes an answer's status, and nothing else. What else a writer can do, as fail to flush, [http.ResponseController] finds behind it,
// so that a handler sees the same with and without it.
type seen struct {
	http.ResponseWriter
	first int
}

// WriteHeader implements [http.ResponseWriter].
func (s *seen) WriteHeader(status int) {
	if s.first == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		s.first = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is what [http.ResponseController] calls.
func (s *seen) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// status is 200 when the handler named none, as in net/http.
func (s *seen) status() int {
	if s.first == 0 {
		return http.StatusOK
	}
	return s.first
}
