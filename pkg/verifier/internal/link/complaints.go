package link

import (
	"log/slog"
	"sync"
)

// maxComplaints bounds what is remembered; beyond it nothing new is told until there is a new connection.
const maxComplaints = 32

// complaints are errors that come with every try, several times a second: each is logged once.
type complaints struct {
	mu   sync.Mutex
	told map[string]struct{}
}

func (c *complaints) tell(log *slog.Logger, message string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := message + ": " + err.Error()
	if _, known := c.told[text]; known || len(c.told) == maxComplaints {
		return
	}
	if c.told == nil {
		c.told = map[string]struct{}{}
	}
	c.told[text] = struct{}{}
	log.Warn(message, "error", err)
}

func (c *complaints) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = nil
}
