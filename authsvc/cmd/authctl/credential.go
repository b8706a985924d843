package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// credential is a session as login returns it.
type credential struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	SessionID    string `json:"session_id,omitempty"`
}

// credentialPath is the file of all kept sessions, by the URL of the authsvc that each belongs to: a session is
// never sent to another one.
func credentialPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no place to keep the session: %w", err)
	}
	return filepath.Join(dir, "tocsin", "sessions.json"), nil
}

// loadCredential returns the token that the environment gives, or else the session kept for base.
func loadCredential(base string) (credential, error) {
	token, err := fromEnvironment("TOCSIN_TOKEN")
	if err != nil {
		return credential{}, err
	}
	if token != "" {
		return credential{AccessToken: token}, nil
	}
	kept, err := readCredentials()
	if err != nil {
		return credential{}, err
	}
	cred, ok := kept[base]
	if !ok {
		return credential{}, fmt.Errorf("not logged in at %s: authctl login", base)
	}
	return cred, nil
}

// saveCredential keeps a session; an empty one is forgotten.
func saveCredential(base string, cred credential) error {
	kept, err := readCredentials()
	if err != nil {
		return err
	}
	kept[base] = cred
	if cred == (credential{}) {
		delete(kept, base)
	}
	return writeCredentials(kept)
}

func readCredentials() (map[string]credential, error) {
	path, err := credentialPath()
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return map[string]credential{}, nil
	case err != nil:
		return nil, err
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read by others (mode %04o): make it 0600 and log in again", path, info.Mode().Perm())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	kept := map[string]credential{}
	if err := json.Unmarshal(content, &kept); err != nil {
		return nil, fmt.Errorf("%s is damaged, remove it and log in again: %w", path, err)
	}
	return kept, nil
}

// writeCredentials replaces the file as a whole: an interrupted write leaves the old one.
func writeCredentials(kept map[string]credential) error {
	path, err := credentialPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	content, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "sessions-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(append(content, '\n'))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// fromEnvironment reads a secret from its variable, or from the file that the variable with _FILE names.
func fromEnvironment(name string) (string, error) {
	if value := os.Getenv(name); value != "" {
		return value, nil
	}
	path := os.Getenv(name + "_FILE")
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}
