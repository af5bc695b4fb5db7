package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
	"github.com/tenure-dev/tenure/cmd/internal/app"
	"github.com/tenure-dev/tenure/drivers"
)

const noopName = "noop"

// noop is a driver that does nothing, so that all the time is the engine's.
type noop struct{}

var _ drivers.Driver = noop{}

func (noop) Describe() drivers.Description {
	return drivers.Description{Name: noopName, Provider: noopName, Class: drivers.ClassIdempotent, Isolation: "none"}
}

func (noop) Acquire(context.Context, drivers.AcquireRequest) (drivers.Runtime, error) {
	return drivers.Runtime{}, nil
}

func (noop) Release(context.Context, drivers.ReleaseRequest) error { return nil }

// start starts an engine that has the driver.
func start(ctx context.Context, dir, url string, log *slog.Logger, change ...func(*app.Options)) (*app.App, error) {
	opts := app.Options{
		Version: "bench", Listen: "127.0.0.1:0", DataDir: dir, DatabaseURL: url, ExecUID: -1,
		ExecParent: []string{"/proc/self/exe", app.ExecParentCommand}, Logger: log, Drivers: []drivers.Driver{noop{}},
	}
	for _, c := range change {
		c(&opts)
	}
	return app.Start(ctx, opts)
}

// tenant is a client of an engine, with a company and its environments.
type tenant struct {
	client       *client.Client
	company      uuid.UUID
	environments []uuid.UUID
}

func newTenant(ctx context.Context, address, dataDir string, environments int) (*tenant, error) {
	key, err := os.ReadFile(filepath.Join(dataDir, "admin.key"))
	if err != nil {
		return nil, err
	}
	c, err := client.New(address, strings.TrimSpace(string(key)))
	if err != nil {
		return nil, err
	}
	company, err := c.AddCompany(ctx, wire.AddCompany{Name: "bench"})
	if err != nil {
		return nil, err
	}
	t := &tenant{client: c, company: company.ID}
	for i := range environments {
		env, err := c.AddEnvironment(ctx, t.company, wire.AddEnvironment{Name: fmt.Sprintf("noop-%d", i), Driver: noopName})
		if err != nil {
			return nil, err
		}
		t.environments = append(t.environments, env.ID)
	}
	return t, nil
}

// patience is how long a call waits for a lease to be active, or gone.
const patience = 30 * time.Second

// acquire returns an active lease of one of the environments.
func (t *tenant) acquire(ctx context.Context, env int) (wire.Lease, error) {
	got, active, err := t.client.AcquireLease(ctx, t.company, wire.AcquireLease{
		EnvironmentID: t.environments[env%len(t.environments)], HeartbeatRunID: newID().String(),
	}, client.Wait(patience))
	if err == nil && !active {
		err = fmt.Errorf("lease %s is %s after %s", got.Lease.ID, got.Lease.Status, patience)
	}
	return got.Lease, err
}

func (t *tenant) release(ctx context.Context, id uuid.UUID) error {
	l, err := t.client.ReleaseLease(ctx, id, wire.Release{}, client.Wait(patience))
	if err == nil && l.Status != wire.LeaseReleased {
		err = fmt.Errorf("lease %s is %s after %s", id, l.Status, patience)
	}
	return err
}

// engine is an engine in this process, on a schema of its own.
type engine struct {
	*tenant
	app *app.App
	db  *database
	dir string
}

func (b *bench) engine(ctx context.Context, environments int, change ...func(*app.Options)) (*engine, error) {
	d, err := b.database(ctx, nil)
	if err != nil {
		return nil, err
	}
	e := &engine{db: d}
	if e.dir, err = os.MkdirTemp(b.dir, "engine-"); err == nil {
		err = os.Chmod(e.dir, 0o755) //nolint:gosec // what is in it has modes of its own
	}
	if err == nil {
		e.app, err = start(ctx, filepath.Join(e.dir, "data"), d.url, b.log, change...)
	}
	if err == nil {
		e.tenant, err = newTenant(ctx, e.app.Address(), filepath.Join(e.dir, "data"), environments)
	}
	if err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	return e, nil
}

func (e *engine) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	var problem error
	if e.tenant != nil {
		e.client.CloseIdleConnections()
	}
	if e.app != nil {
		problem = e.app.Stop(ctx)
	}
	return errors.Join(problem, e.db.drop(), os.RemoveAll(e.dir))
}
