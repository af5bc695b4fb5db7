package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	startLimit = 3 * time.Minute
	stopLimit  = 2 * time.Minute
	// look is how often a file that another process writes is looked for.
	look = 50 * time.Millisecond
)

func (s *stage) logPath() string { return filepath.Join(s.dir, "server.log") }

// startServer returns when the server listens.
func (s *stage) startServer(ctx context.Context) error {
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the server has its own copy
	data := filepath.Join(s.dir, "data")
	args := []string{"serve", "--data-dir", data, "--listen", "127.0.0.1:0"}
	if s.dockerHost != "" {
		args = append(args, "--plugin-env", "tenure.docker=DOCKER_HOST="+s.dockerHost)
	}
	fmt.Fprintln(s.out, "$ tenure", strings.Join(args, " "))
	cmd := exec.Command(s.bin, args...) //nolint:noctx // stopServer ends it, in order
	cmd.Env, cmd.Dir = s.environ(), s.dir
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	s.server, s.ended = cmd, make(chan struct{})
	go func() {
		s.endErr = cmd.Wait()
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("the server does not listen after %s", startLimit))
	defer cancel()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		if line, ok := s.ready(); ok {
			fmt.Fprintln(s.out, line)
			s.address = strings.TrimPrefix(line, listening)
			return nil
		}
		select {
		case <-ticker.C:
		case <-s.ended:
			s.server = nil
			return fmt.Errorf("the server ended: %w", orExit(s.endErr))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func orExit(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// listening begins the line that says where.
const listening = "listening on "

// ready looks for the line that the server prints when it is ready.
func (s *stage) ready() (string, bool) {
	log, err := os.ReadFile(s.logPath())
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(log)) {
		if strings.HasPrefix(line, listening) && strings.HasSuffix(line, "\n") {
			return strings.TrimSpace(line), true
		}
	}
	return "", false
}

// stopServer ends the server as an operator would, and expects it to say that all went well.
func (s *stage) stopServer() error {
	if s.server == nil {
		return nil
	}
	if err := s.server.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the server: %w", err)
	}
	select {
	case <-s.ended:
	case <-time.After(stopLimit):
		return fmt.Errorf("the server is still there %s after SIGTERM", stopLimit)
	}
	s.server = nil
	if s.endErr != nil {
		return fmt.Errorf("the server did not end in order: %w", s.endErr)
	}
	return nil
}

// tail shows the end of the server's log, and what sshd said.
func (s *stage) tail() {
	if s.sshd != nil && s.sshd.Log() != "" {
		fmt.Fprintf(s.out, "\nsshd said:\n%s\n", strings.TrimSpace(s.sshd.Log()))
	}
	log, err := os.ReadFile(s.logPath())
	if err != nil {
		return
	}
	lines := strings.Split(strings.TrimRight(string(log), "\n"), "\n")
	const most = 40
	fmt.Fprintf(s.out, "\nthe server's log, at most %d lines of its end:\n", most)
	for _, line := range lines[max(0, len(lines)-most):] {
		fmt.Fprintln(s.out, "  "+line)
	}
}
