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
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/api/auth"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/app"
	"github.com/tenure-dev/tenure/cmd/internal/cli"
	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// tenureCommand makes this program the one that users have: tenureCommand ARGUMENT....
const tenureCommand = "__tenure"

// runTenure is cmd/tenure, of which all is linked in here.
func runTenure(args []string) int {
	taken, err := app.TakeEnvironment()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tenure:", err)
		return 1
	}
	return cli.Main(context.Background(), cli.Deps{
		Version: "bench", Serve: app.Serve("bench"), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: taken.Get,
	}, args)
}

// fleet is `tenure api` and workers, each a process with a data directory of its own, on a schema of their own.
type fleet struct {
	*tenant
	db      *database
	dir     string
	keyset  []byte
	admin   string
	args    []string
	api     *process
	workers []*process
	started int
}

// fleet starts an API server and workers with these arguments, and makes an environment of the provider fake.
func (b *bench) fleet(ctx context.Context, workers int, args []string, script string) (f *fleet, err error) {
	d, err := b.database(ctx, nil)
	if err != nil {
		return nil, err
	}
	f = &fleet{db: d, args: args}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close(ctx))
		}
	}()
	if f.dir, err = os.MkdirTemp(b.dir, "fleet-"); err != nil {
		return nil, err
	}
	if err = os.Chmod(f.dir, 0o755); err != nil { //nolint:gosec // what is in it has modes of its own
		return nil, err
	}
	keys, err := vault.NewKeyset()
	if err != nil {
		return nil, err
	}
	if f.keyset, err = keys.Encode(); err != nil {
		return nil, err
	}
	f.admin = auth.NewKey(domain.KeyID{UUID: newID()}).Reveal()
	if f.api, err = f.start(ctx, "api", "api"); err != nil {
		return nil, err
	}
	if f.tenant, err = newTenant(ctx, f.api.address, f.api.dir, 0); err != nil {
		return nil, err
	}
	if err = f.grow(ctx, workers); err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{"provider": "fake", "script": json.RawMessage(script)})
	if err != nil {
		return nil, err
	}
	env, err := f.client.AddEnvironment(ctx, f.company, wire.AddEnvironment{Name: "fake", Driver: "sandbox", Config: config})
	if err != nil {
		return nil, err
	}
	f.environments = []uuid.UUID{env.ID}
	return f, nil
}

// grow starts workers until there are so many, and waits until each has its share of the work.
func (f *fleet) grow(ctx context.Context, n int) error {
	group, starts := errgroup.WithContext(ctx)
	fresh := make([]*process, max(n-len(f.workers), 0))
	for i := range fresh {
		f.started++
		number := f.started
		group.Go(func() (err error) {
			fresh[i], err = f.start(starts, "worker", fmt.Sprintf("worker-%d", number), f.args...)
			return err
		})
	}
	err := group.Wait()
	for _, p := range fresh {
		if p != nil {
			f.workers = append(f.workers, p)
		}
	}
	if err != nil {
		return err
	}
	return f.settle(ctx)
}

// shrink ends workers in order until there are no more than so many.
func (f *fleet) shrink(ctx context.Context, n int) error {
	var problems []error
	for len(f.workers) > n {
		last := f.workers[len(f.workers)-1]
		f.workers = f.workers[:len(f.workers)-1]
		problems = append(problems, last.stop())
	}
	return errors.Join(append(problems, f.settle(ctx))...)
}

// settleLimit bounds how long the work may take to be shared.
const settleLimit = 30 * time.Second

// settle waits until the living workers have all of the work in equal parts.
func (f *fleet) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleLimit, fmt.Errorf("the workers do not share the work evenly within %s", settleLimit))
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		owners, err := f.owners(ctx)
		if err != nil {
			return err
		}
		shares := map[int]int{}
		for _, pid := range owners {
			shares[pid]++
		}
		even := true
		for _, w := range f.workers {
			even = even && shares[w.pid()] >= eventstore.PartitionCount/len(f.workers)
		}
		if even {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// owners are the processes that have the partitions, by their ids in the system; 0 for nobody.
func (f *fleet) owners(ctx context.Context) ([]int, error) {
	owners := make([]int, eventstore.PartitionCount)
	rows, err := f.db.pool.Query(ctx, `SELECT w.partition, p.pid FROM partitions w JOIN processes p ON p.id = w.process_id`)
	if err != nil {
		return nil, err
	}
	var n, pid int
	_, err = pgx.ForEachRow(rows, []any{&n, &pid}, func() error {
		owners[n] = pid
		return nil
	})
	return owners, err
}

func (f *fleet) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	var problems []error
	if f.tenant != nil {
		f.client.CloseIdleConnections()
	}
	for _, p := range f.workers {
		problems = append(problems, p.signal(syscall.SIGTERM))
	}
	for _, p := range f.workers {
		problems = append(problems, p.wait(ctx))
	}
	if f.api != nil {
		problems = append(problems, f.api.stop())
	}
	problems = append(problems, f.db.drop())
	if f.dir != "" {
		problems = append(problems, os.RemoveAll(f.dir))
	}
	return errors.Join(problems...)
}

// process is a running tenure.
type process struct {
	cmd          *exec.Cmd
	dir, address string
	ended        chan struct{}
	killed       bool
}

// start starts a process on a data directory of this name.
func (f *fleet) start(ctx context.Context, verb, name string, args ...string) (*process, error) {
	dir := filepath.Join(f.dir, name)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	for file, content := range map[string][]byte{vault.FileName: f.keyset, "admin.key": []byte(f.admin + "\n")} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			return nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args = append([]string{tenureCommand, verb, "--data-dir", dir, "--listen", "127.0.0.1:0", "--log-level", "error"}, args...)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...)
	cmd.Env = append(os.Environ(), "TENURE_DATABASE_URL="+f.db.url)
	said, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, dir: dir, ended: make(chan struct{})}
	lines, listens := bufio.NewReader(said), make(chan error, 1)
	go func() {
		defer close(p.ended)
		listens <- p.listen(lines)
		_, _ = io.Copy(os.Stderr, lines)
		_ = cmd.Wait() // what it ended with, its state says
	}()
	select {
	case err = <-listens:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tenure %s: %w", verb, err), p.kill())
	}
	return p, nil
}

// listen reads what the process says until it serves.
func (p *process) listen(lines *bufio.Reader) error {
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		if address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on "); ok {
			p.address = address
			return nil
		}
		said.WriteString(line)
		if err != nil {
			return fmt.Errorf("it did not serve: %s", said.String())
		}
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(s syscall.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// kill ends it as a machine does that loses its power, and waits for nothing.
func (p *process) kill() error {
	p.killed = true
	return p.signal(syscall.SIGKILL)
}

// stop ends it in order.
func (p *process) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	return errors.Join(p.signal(syscall.SIGTERM), p.wait(ctx))
}

func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.ended:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("process %d does not end", p.pid()), p.kill())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 && !p.killed {
		return fmt.Errorf("process %d ended with %d", p.pid(), code)
	}
	return nil
}
