package config

import (
	"fmt"
	"io"
	"os"
	"strings"
)

const maxSecret = 64 << 10

// secret reads a secret from its variable or from the file that VARIABLE_FILE names; one line break at the file's end
// is not part of it. Neither given: empty.
func secret(getenv func(string) string, name string) (string, error) {
	value, path := getenv(name), getenv(name+"_FILE")
	switch {
	case path == "":
		return value, nil
	case value != "":
		return "", fmt.Errorf("%s_FILE: %s is given too, one of them must go", name, name)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if text == "" || len(text) > maxSecret {
		return "", fmt.Errorf("%s_FILE: %s is empty or larger than %d bytes", name, path, maxSecret)
	}
	return text, nil
}
