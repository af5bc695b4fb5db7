package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenure-dev/tenure/drivers/ssh/sshtest/sshd"
	"github.com/tenure-dev/tenure/plugins/docker/dockertest/engine"
)

// stage is a directory of its own and what runs in it.
type stage struct {
	bin   string
	dir   string
	out   io.Writer
	began time.Time

	server *exec.Cmd
	// ended is closed when the server has ended; endErr is how.
	ended  chan struct{}
	endErr error
	// address is where it listens.
	address string

	places []place
	sshd   *sshd.Server
	docker *engine.Engine
	// dockerHost is the Docker engine to use; "" is none.
	dockerHost string
}

// newStage makes the directory. Every user may go through it: as root, Postgres and the commands run as other users, who
// have their own directories below.
func newStage(bin string, out io.Writer) (*stage, error) {
	path, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w; build it first: make build", err)
	}
	// What a server leaves behind becomes a child of this process, so that it is found.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the subreaper: %w", err)
	}
	unix.Umask(0o022)
	dir, err := os.MkdirTemp(passableTemp(), "tenure-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // to be passed through, see above
		return nil, err
	}
	return &stage{bin: path, dir: dir, out: out, began: time.Now()}, nil
}

// passableTemp is the temporary directory, or /tmp when root's own is closed to the other users.
func passableTemp() string {
	if os.Geteuid() == 0 && !passable(os.TempDir()) {
		return "/tmp"
	}
	return ""
}

// passable reports whether every user may go to path.
func passable(path string) bool {
	for {
		info, err := os.Stat(path)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if path == filepath.Dir(path) {
			return true
		}
		path = filepath.Dir(path)
	}
}

func (s *stage) say(what string) {
	fmt.Fprintf(s.out, "\n== %s (%s)\n", what, time.Since(s.began).Round(100*time.Millisecond))
}

// environ is what the program needs, and nothing of the caller's settings of Tenure.
func (s *stage) environ() []string {
	env := []string{
		"TENURE_DATA_DIR=" + filepath.Join(s.dir, "data"),
		"XDG_CONFIG_HOME=" + filepath.Join(s.dir, "config"),
		"PATH=" + orElse(os.Getenv("PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
	}
	for _, name := range []string{"HOME", "TMPDIR", "LANG", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (s *stage) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Env, cmd.Dir = s.environ(), s.dir
	// An interruption is the program's own affair first: it gives its lease back.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	// A terminal's Ctrl-C reaches this process only, which then decides the order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// tenure types a command and shows what it says.
func (s *stage) tenure(ctx context.Context, args ...string) error {
	return s.tenureWith(ctx, "", args...)
}

func (s *stage) tenureWith(ctx context.Context, stdin string, args ...string) error {
	shown := args
	if len(shown) > 12 {
		shown = append(append([]string{}, args[:10]...), "…")
	}
	fmt.Fprintf(s.out, "$ tenure %s\n", strings.Join(shown, " "))
	cmd := s.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = s.out, s.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("tenure %s: %w", args[0], err)
	}
	return nil
}

// answer is the one word that a command prints.
func (s *stage) answer(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := s.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("tenure %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	words := strings.Fields(stdout.String())
	if len(words) != 1 {
		return "", fmt.Errorf("tenure %s: one line was expected, not %q", strings.Join(args, " "), stdout.String())
	}
	return words[0], nil
}
