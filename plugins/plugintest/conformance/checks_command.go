package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// commandChecks are about commands. They run through the extension where there is one, else through environmentExecute.
func commandChecks() []check {
	return []check{
		{name: "argv", sentence: "arguments reach the program as they are, through no shell", applies: executes, run: checkArgv},
		{name: "env", sentence: "variables reach the program as they are, and of the worker's own environment nothing does", applies: executes, run: checkEnv},
		{name: "cwd", sentence: "a working directory is where the command runs; without one it is the workspace", applies: executes, run: checkCwd},
		{name: "stdin", sentence: "standard input arrives whole and then ends; without any it is empty", applies: executes, run: checkStdin},
		{name: "exit_codes", sentence: "an exit code is the command's own; a program that is not there exits with 127", applies: executes, run: checkExitCodes},
		{name: "output", sentence: "output arrives whole and as it is, however much it is, with nothing mixed in", applies: executes, run: checkOutput},
		{name: "timeout", sentence: "a timeout ends the command, and the result says so", applies: executes, run: checkTimeout},
		{name: "companies", sentence: "commands of two companies at once do not see one another's output", applies: executes, run: checkCompanies},
		{name: "credit", sentence: "no more output is sent than the host allows, and more when it allows more", applies: streaming, run: checkCredit},
		{name: "kill", sentence: "a kill ends the command, the result says so and why, and its end is told once", applies: streaming, run: checkKill},
		{name: "not_started", sentence: "a command that cannot start is an error with the stage that failed, and nothing runs", applies: streaming, run: checkNotStarted},
		{name: "release_ends", sentence: "release ends what runs in the runtime", applies: streaming, run: checkReleaseEnds},
		{name: "worker_ends", sentence: "no command outlives its worker when the host goes away", applies: streaming, run: checkWorkerEnds},
	}
}

// words survive no shell, no splitting and no line-based transport that is not careful.
var words = []string{"a b", "", "it's", `"q"`, "$HOME", "`id`", "*", "back\\slash", "tab\there", "line\nbreak", "\u2028\u2029\u00e4\U0001f600", "--flag=1", "\\u0000"}

func checkArgv(ctx context.Context, s *session) error {
	posix, err := s.posix(ctx)
	if err != nil {
		return err
	}
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	args := words
	if s.streams() {
		args = append(append([]string(nil), words...), "\xff\xfe raw") // text is all that the published verb carries
	}
	c, want := command{argv: append([]string{"echo"}, args...)}, strings.Join(args, " ")+"\n"
	if posix {
		c = command{argv: append([]string{"sh", "-c", `for a in "$@"; do printf '<%s>' "$a"; done`, "sh"}, args...)}
		want = "<" + strings.Join(args, "><") + ">"
	}
	d, err := s.exited(ctx, l, 0, c)
	if err != nil {
		return err
	}
	return same("the program got the arguments", d.out, want)
}

func same(what string, got []byte, want string) error {
	if string(got) == want {
		return nil
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	return fmt.Errorf("%s %q, and not %q (%d and %d bytes; they differ at %d)", what, clip(got[max(0, at-20):]), clip([]byte(want)[max(0, at-20):]), len(got), len(want), at)
}

func checkEnv(ctx context.Context, s *session) error {
	posix, err := s.posix(ctx)
	if err != nil {
		return err
	}
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	w, err := s.host.worker(ctx)
	if err != nil {
		return err
	}
	env := []drivers.EnvVar{
		{Name: "CONFORMANCE_A", Value: "$(id) `id` \"q\" 'q' \\ \u2028"}, {Name: "MY-KEY.x", Value: "dash and dot"}, {Name: "EMPTY", Value: ""},
	}
	if s.streams() {
		env = append(env, drivers.EnvVar{Name: "TWICE", Value: "1"}, drivers.EnvVar{Name: "TWICE", Value: "2"})
	}
	c, end := command{argv: []string{"env"}, env: env}, "\n"
	if posix {
		c.argv, end = []string{"env", "-0"}, "\x00"
	}
	d, err := s.exited(ctx, l, 0, c)
	if err != nil {
		return err
	}
	seen := map[string]int{}
	for line := range strings.SplitSeq(string(d.out), end) {
		seen[line]++
	}
	for i, v := range env {
		if i+1 < len(env) && env[i+1].Name == v.Name {
			if seen[v.Name+"="+v.Value] > 0 {
				return fmt.Errorf("%s has its earlier value too", v.Name)
			}
			continue
		}
		if seen[v.Name+"="+v.Value] != 1 {
			return fmt.Errorf("%s=%q is there %d times", v.Name, v.Value, seen[v.Name+"="+v.Value])
		}
	}
	if bytes.Contains(d.out, []byte(w.marker)) || bytes.Contains(d.out, []byte(markerName)) {
		return errors.New("a variable of the worker is in the command's environment")
	}
	for _, own := range []string{"PAPERCLIP_PLUGIN_ID=", "PAPERCLIP_DEPLOYMENT_MODE=", "NODE_ENV="} {
		if strings.Contains(end+string(d.out), end+own) {
			return fmt.Errorf("the worker's %s is in the command's environment", strings.TrimSuffix(own, "="))
		}
	}
	return nil
}

func checkCwd(ctx context.Context, s *session) error {
	posix, err := s.posix(ctx)
	if err != nil {
		return err
	}
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	pwd := func(cwd string) (string, error) {
		d, err := s.exited(ctx, l, 0, command{argv: []string{"pwd"}, cwd: cwd})
		return strings.TrimSuffix(string(d.out), "\n"), err
	}
	workspace, err := pwd("")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(workspace, "/") {
		return fmt.Errorf("pwd prints %q", workspace)
	}
	dir := filepath.Join(workspace, "a dir 'quoted' \u00e4")
	if posix {
		if _, err := s.exited(ctx, l, 0, command{argv: []string{"mkdir", dir}}); err != nil {
			return err
		}
	}
	got, err := pwd(dir)
	if err != nil {
		return err
	}
	if got != dir {
		return fmt.Errorf("pwd prints %q in %q", got, dir)
	}
	return nil
}

func checkStdin(ctx context.Context, s *session) error {
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	stdin := []byte(strings.Repeat("0123456789 \u2028 \u00e4\u20ac\n", 10_000))
	if s.streams() {
		for i := range 100_000 {
			stdin = append(stdin, byte(i*7))
		}
	}
	d, err := s.exited(ctx, l, 0, command{argv: []string{"cat"}, stdin: stdin})
	if err != nil {
		return err
	}
	if err := same("cat printed", d.out, string(stdin)); err != nil {
		return err
	}
	d, err = s.exited(ctx, l, 0, command{argv: []string{"cat"}})
	if err != nil {
		return err
	}
	return same("cat printed", d.out, "")
}

func checkExitCodes(ctx context.Context, s *session) error {
	posix, err := s.posix(ctx)
	if err != nil {
		return err
	}
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	if _, err := s.exited(ctx, l, 1, command{argv: []string{"false"}}); err != nil {
		return err
	}
	if _, err := s.exited(ctx, l, 127, command{argv: []string{"no-such-program-" + uuid.NewString()}}); err != nil {
		return err
	}
	if !posix {
		return nil
	}
	for _, code := range []int{0, 7, 126, 255} {
		if _, err := s.exited(ctx, l, code, command{argv: []string{"sh", "-c", fmt.Sprintf("exit %d", code)}}); err != nil {
			return err
		}
	}
	d, err := s.run(ctx, l, command{argv: []string{"sh", "-c", "kill -SEGV $$"}})
	if err != nil {
		return err
	}
	if d.End != drivers.ExecSignaled || strings.TrimPrefix(d.Signal, "SIG") != "SEGV" {
		return fmt.Errorf("a program that dies of SIGSEGV is said to end as %s %s with code %d", d.End, d.Signal, d.ExitCode)
	}
	return nil
}

func checkOutput(ctx context.Context, s *session) error {
	posix, err := s.posix(ctx)
	if err != nil {
		return err
	}
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	if !posix {
		n := s.opts.OutputBytes
		big := strings.Repeat("x", min(n, 1<<20))
		d, err := s.exited(ctx, l, 0, command{argv: []string{"cat"}, stdin: []byte(big)})
		if err != nil {
			return err
		}
		return s.wholeOutput(d, []byte(big), nil)
	}
	d, err := s.exited(ctx, l, 3, command{argv: []string{
		"sh", "-c", fmt.Sprintf(`head -c %d /dev/zero | tr '\0' x; printf 'err \342\200\250' >&2; exit 3`, s.opts.OutputBytes),
	}})
	if err != nil {
		return err
	}
	if err := s.wholeOutput(d, bytes.Repeat([]byte("x"), s.opts.OutputBytes), []byte("err \u2028")); err != nil {
		return err
	}
	d, err = s.exited(ctx, l, 0, command{argv: []string{
		"sh", "-c", `i=0; while [ $i -lt 100 ]; do printf '\342'; printf E >&2; printf '\202\254'; i=$((i+1)); done`,
	}})
	if err != nil {
		return err
	}
	if err := s.wholeOutput(d, []byte(strings.Repeat("\u20ac", 100)), []byte(strings.Repeat("E", 100))); err != nil {
		return err
	}
	if !s.streams() {
		return nil // the published verb carries text
	}
	d, err = s.exited(ctx, l, 0, command{argv: []string{"printf", `\000\377\376\302x\r\n`}})
	if err != nil {
		return err
	}
	return s.wholeOutput(d, []byte("\x00\xff\xfe\xc2x\r\n"), nil)
}

// wholeOutput compares the output with what it should be, and the seal with both.
func (s *session) wholeOutput(d done, out, errs []byte) error {
	if err := errors.Join(same("stdout is", d.out, string(out)), same("stderr is", d.err, string(errs))); err != nil {
		return err
	}
	if !s.streams() {
		return nil
	}
	seal := d.Output
	if seal.State != drivers.OutputComplete || seal.Stdout != sealOf(out) || seal.Stderr != sealOf(errs) {
		return fmt.Errorf("all of the output came, and the end calls it %s with %d and %d bytes", seal.State, seal.Stdout.Bytes, seal.Stderr.Bytes)
	}
	return nil
}

func sealOf(b []byte) drivers.StreamSeal {
	h := sha256.Sum256(b)
	return drivers.StreamSeal{Bytes: int64(len(b)), SHA256: hex.EncodeToString(h[:])}
}

func checkTimeout(ctx context.Context, s *session) error {
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	const limit = 300 * time.Millisecond
	d, err := s.run(ctx, l, command{argv: []string{"sleep", "600"}, timeout: limit})
	if err != nil {
		return err
	}
	if d.End != drivers.ExecTimedOut {
		return fmt.Errorf("it ends as %s with code %d", d.End, d.ExitCode)
	}
	_, err = s.exited(ctx, l, 0, command{argv: []string{"echo", "next"}})
	return err
}

func checkCompanies(ctx context.Context, s *session) error {
	const companies, each = 2, 3
	var work sync.WaitGroup
	errs := make(chan error, companies*each)
	for range companies {
		l, err := s.acquired(ctx)
		if err != nil {
			return err
		}
		for range each {
			work.Go(func() {
				text := strings.Repeat("of "+l.company+" ", 2000)
				d, err := s.exited(ctx, l, 0, command{argv: []string{"cat"}, stdin: []byte(text)})
				if err == nil {
					err = same("a command of one company printed", d.out, text)
				}
				errs <- err
			})
		}
	}
	work.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func checkCredit(ctx context.Context, s *session) error {
	l, err := s.acquired(ctx)
	if err != nil {
		return err
	}
	const credit, steps = 10_000, 4
	stdin := bytes.Repeat([]byte("0123456789"), steps*credit/10)
	id, r, err := s.start(ctx, l, command{argv: []string{"cat"}, stdin: stdin, credit: credit, hold: true})
	if err != nil {
		return err
	}
	w, err := s.host.worker(ctx)
	if err != nil {
		return err
	}
	for i := 1; i <= steps; i++ {
		if err := r.awaitOutput(ctx, i*credit, s.opts.CallTimeout); err != nil {
			return err
		}
		// A call goes and comes, so what was sent without credit would be here.
		if err := checkHealth(ctx, s); err != nil {
			return err
		}
		if n := r.received(); n > i*credit {
			return fmt.Errorf("%d bytes came, and %d were allowed", n, i*credit)
		}
		if i < steps {
			r.allow(credit)
			if err := w.Notify(ctx, protocol.NotifyExecCredit, protocol.ExecCredit{ExecID: id, Bytes: credit}); err != nil {
				return err
			}
		}
	}
	d, err := s.finish(ctx, r)
	if err != nil {
		return err
	}
	return same("cat printed", d.out, string(stdin))
}

func (r *running) received() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.out) + len(r.err)
}

func (r *running) allow(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.credit += n
}

// awaitOutput waits for that many bytes.
func (r *running) awaitOutput(ctx context.Context, n int, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%d bytes of output did not come within %s", n, limit))
	defer cancel()
	for r.received() < n {
		select {
		case <-r.news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
