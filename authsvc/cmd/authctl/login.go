package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

type loginCmd struct {
	Username     string `arg:"" default:"admin" help:"Who logs in."`
	PasswordFile string `type:"path" help:"Read the password from this file; else from TOCSIN_PASSWORD, TOCSIN_PASSWORD_FILE or the terminal."`
	Mode         string `enum:"live,test" default:"live" help:"live or test."`
}

func (cmd loginCmd) Run(ctx context.Context, c *client, out *printer, stdin io.Reader) error {
	password, err := cmd.password(stdin, out.notes)
	if err != nil {
		return err
	}
	a, err := c.send(ctx, "POST", "/v1/login", "", map[string]string{
		"username": cmd.Username, "password": password, "mode": cmd.Mode,
	})
	if err != nil {
		return err
	}
	var cred credential
	if err := json.Unmarshal(a.body, &cred); err != nil || cred.AccessToken == "" {
		return errors.New("the answer to the login holds no token")
	}
	if err := saveCredential(c.base, cred); err != nil {
		return err
	}
	return out.fields(nil, "session", cred.SessionID, "user", cmd.Username, "at", c.base)
}

func (cmd loginCmd) password(stdin io.Reader, notes io.Writer) (string, error) {
	if cmd.PasswordFile != "" {
		content, err := os.ReadFile(cmd.PasswordFile)
		return strings.TrimRight(string(content), "\r\n"), err
	}
	if password, err := fromEnvironment("TOCSIN_PASSWORD"); password != "" || err != nil {
		return password, err
	}
	return prompt(stdin, notes)
}

// prompt reads one line. From a terminal it is read without echo, or not at all.
func prompt(stdin io.Reader, notes io.Writer) (string, error) {
	if file, ok := stdin.(*os.File); ok && isTerminal(file) {
		if err := stty(file, "-echo"); err != nil {
			return "", fmt.Errorf("can't hide what is typed, use --password-file: %w", err)
		}
		defer fmt.Fprintln(notes)
		defer stty(file, "echo")
		fmt.Fprint(notes, "Password: ")
	}
	line, err := bufio.NewReader(stdin).ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.Join(errors.New("no password given"), ignoreEOF(err))
	}
	return line, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && file.Name() != os.DevNull
}

func stty(terminal *os.File, setting string) error {
	cmd := exec.Command("stty", setting)
	cmd.Stdin = terminal
	return cmd.Run()
}

type logoutCmd struct {
	All bool `help:"End all of the user's sessions, not this one only."`
	waitFlags
}

func (cmd logoutCmd) Run(ctx context.Context, c *client, out *printer) error {
	path := "/v1/logout"
	if cmd.All {
		path += "/all"
	}
	a, err := c.call(ctx, "POST", cmd.path(path), nil)
	if err != nil {
		return err
	}
	if err := saveCredential(c.base, credential{}); err != nil {
		return err
	}
	return out.receipt(a)
}
