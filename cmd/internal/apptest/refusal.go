package apptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Refusal is why a server did not start, as its user reads it with -o json.
type Refusal struct {
	Code, Message, Cause, Remediation string
	ExitCode                          int
	// Said is everything that it printed.
	Said string
}

// Refused starts a server that must refuse, and returns what it says. The engine is not to be started yet; its data directory
// and environment are used as they are. As is a user id, for an engine that shall not be root; 0 is whoever runs the tests.
func (e *Engine) Refused(as uint32) Refusal {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	args := append([]string{"serve", "-o", "json", "--listen", "127.0.0.1:0", "--data-dir", e.DataDir}, e.Args...)
	cmd := exec.CommandContext(ctx, Binary(e.t), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(e.DataDir)}, e.Env...)
	cmd.Dir = "/"
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if as != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as, Gid: as}}
	}
	err := cmd.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.True(e.t, ok, "the server ended in order: %v\n%s", err, stderr.String())
	require.Empty(e.t, stdout.String())
	r := Refusal{}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	require.NoError(e.t, json.Unmarshal([]byte(lines[len(lines)-1]), &r), stderr.String())
	require.Equal(e.t, exit.ExitCode(), r.ExitCode)
	r.Said = stderr.String()
	return r
}

// Check fails unless the refusal has all its parts.
func (r Refusal) Check(t testing.TB, code string) {
	t.Helper()
	require.Equal(t, code, r.Code, r.Said)
	require.Equal(t, 1, r.ExitCode)
	require.NotEmpty(t, r.Message)
	require.NotEmpty(t, r.Remediation, r.Said)
}
