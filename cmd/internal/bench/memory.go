package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenure-dev/tenure/cmd/internal/app"
)

// engineCommand makes this program an engine, in a process whose memory holds nothing else: engineCommand DIR URL.
const engineCommand = "__engine"

// asEngine runs an engine until its standard input ends, the worker of a plugin, or the program that users have, if that is what
// the arguments say.
func asEngine(args []string) (code int, child bool) {
	if len(args) > 0 && args[0] == app.PluginCommand {
		return app.ServePlugin(args[1:]), true
	}
	if len(args) > 0 && args[0] == tenureCommand {
		return runTenure(args[1:]), true
	}
	if len(args) != 3 || args[0] != engineCommand {
		return 0, false
	}
	if err := serve(args[1], args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "bench engine:", err)
		return 1, true
	}
	return 0, true
}

func serve(dir, url string) error {
	ctx := context.Background()
	a, err := start(ctx, dir, url, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, a.Address())
	_, _ = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	return a.Stop(ctx)
}

// memoryClients make the leases.
const memoryClients = 32

// memory measures the resident memory of an engine that holds active leases and has nothing to do.
func memory(ctx context.Context, b *bench) (err error) {
	d, err := b.database(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.drop()) }()
	dir := filepath.Join(b.dir, "idle")
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, engineCommand, dir, d.url)
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hold.Close(), cmd.Wait()) }()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the engine did not start: %w", err)
	}
	t, err := newTenant(ctx, strings.TrimSpace(address), dir, 1)
	if err != nil {
		return err
	}
	defer t.client.CloseIdleConnections()
	began := time.Now()
	if err := t.acquireMany(ctx, b.sizes.leases); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "memory: %d leases in %s\n", b.sizes.leases, time.Since(began).Round(time.Millisecond))
	t.client.CloseIdleConnections()
	select {
	case <-time.After(b.sizes.settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	resident, err := residentBytes(cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.report.add(entry{Name: "memory/idle10k", Value: float64(resident) / (1 << 20), Unit: "MiB"})
	return nil
}

func (t *tenant) acquireMany(ctx context.Context, n int) error {
	var taken atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range memoryClients {
		group.Go(func() error {
			for taken.Add(1) <= int64(n) {
				if _, err := t.acquire(ctx, 0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func residentBytes(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmRSS in /proc/PID/status")
}
