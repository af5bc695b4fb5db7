// Package pgcluster runs a Postgres of somebody's own, which can be backed up, copied, followed, promoted and ended in any way.
// It listens on a socket alone. Its database tenure belongs to the role plain, an ordinary one; the role super may do everything.
//
// It is for tests, by way of pgtest.Cluster, and for programs that try the engine out.
package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// The roles of a cluster.
const (
	// RolePlain may do what a role may that owns its database and nothing else.
	RolePlain = "plain"
	RoleSuper = "super"
)

// Database is the one that the engine uses.
const Database = "tenure"

// Mode is how a server is ended.
type Mode string

// The modes: in order, or at once, so that it recovers at its next start as after a crash.
const (
	Fast      Mode = "fast"
	Immediate Mode = "immediate"
)

// Cluster is a Postgres.
type Cluster struct {
	base, dir string
	// sock and port are where it listens: a cluster that takes another one's place has that one's.
	sock     string
	port     int
	settings map[string]string
	running  bool
}

// New makes a cluster and starts it. settings are added to the server's own.
func New(ctx context.Context, settings map[string]string) (*Cluster, error) {
	c, err := empty(settings)
	if err != nil {
		return nil, err
	}
	err = c.run(ctx, "initdb", "-D", c.dir, "-U", RoleSuper, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err == nil {
		err = c.Start(ctx)
	}
	if err == nil {
		err = c.Exec(ctx, "postgres", `CREATE ROLE `+RolePlain+` LOGIN`)
	}
	if err == nil {
		err = c.Exec(ctx, "postgres", `CREATE DATABASE `+Database+` OWNER `+RolePlain)
	}
	if err != nil {
		return nil, errors.Join(err, c.Remove(context.WithoutCancel(ctx)))
	}
	return c, nil
}

// empty is a cluster without files.
func empty(settings map[string]string) (*Cluster, error) {
	// Short, as a socket needs, and open to the user that the server runs as under root.
	base, err := os.MkdirTemp("", "tenure-cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{base: base, dir: filepath.Join(base, "data"), sock: base, port: 5432, settings: settings}
	uid, gid, err := serverUser()
	if err == nil {
		err = os.Chown(base, uid, gid)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(base))
	}
	return c, nil
}

// serverUser is whom a server runs as: this user, or postgres under root, whom Postgres refuses.
func serverUser() (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return os.Geteuid(), os.Getegid(), nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, err
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// run runs a program of Postgres, or of the system, as the server's user.
func (c *Cluster) run(ctx context.Context, program string, args ...string) error {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		program = found[len(found)-1]
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = c.base
	if os.Geteuid() == 0 {
		uid, gid, err := serverUser()
		if err != nil {
			return err
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", program, args, err, out)
	}
	return nil
}

// Start starts the server where it listens.
func (c *Cluster) Start(ctx context.Context) error {
	options := fmt.Sprintf("-c listen_addresses='' -c unix_socket_directories='%s' -c port=%d -c fsync=off -c max_connections=60 "+
		"-c wal_keep_size=64MB -c shared_buffers=16MB", c.sock, c.port)
	for name, value := range c.settings {
		options += fmt.Sprintf(" -c %s='%s'", name, value)
	}
	if err := c.run(ctx, "pg_ctl", "-D", c.dir, "-l", filepath.Join(c.base, "log"), "-o", options, "-w", "-t", "50", "start"); err != nil {
		return err
	}
	c.running = true
	return nil
}

// Stop ends it, and every connection to it.
func (c *Cluster) Stop(ctx context.Context, mode Mode) error {
	if err := c.run(ctx, "pg_ctl", "-D", c.dir, "-m", string(mode), "-w", "-t", "50", "stop"); err != nil {
		return err
	}
	c.running = false
	return nil
}

// Remove ends it if it runs, and removes its files.
func (c *Cluster) Remove(ctx context.Context) error {
	var err error
	if c.running {
		err = c.Stop(ctx, Immediate)
	}
	return errors.Join(err, os.RemoveAll(c.base))
}

// Log is what the server said.
func (c *Cluster) Log() string {
	text, _ := os.ReadFile(filepath.Join(c.base, "log"))
	return string(text)
}

// Base is its directory.
func (c *Cluster) Base() string { return c.base }

// URL is a connection string for a role and a database.
func (c *Cluster) URL(role, database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", c.sock, c.port, role, database)
}

// Socket is the socket that it listens on.
func (c *Cluster) Socket() string { return filepath.Join(c.sock, ".s.PGSQL."+strconv.Itoa(c.port)) }

// Exec executes a statement in a database as the role that may do everything.
func (c *Cluster) Exec(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, c.URL(RoleSuper, database))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}

// outlast waits until the second has passed in which the cluster was made: log_place tells a copy from its original by when
// each was made, and Postgres says that to the second.
func (c *Cluster) outlast(ctx context.Context) error {
	var made syscall.Stat_t
	if err := syscall.Stat(filepath.Join(c.dir, "PG_VERSION"), &made); err != nil {
		return err
	}
	select {
	case <-time.After(time.Until(time.Unix(made.Ctim.Sec+1, 0))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Backup takes a base backup of the running cluster. It is not started yet.
func (c *Cluster) Backup(ctx context.Context) (*Cluster, error) {
	if err := c.outlast(ctx); err != nil {
		return nil, err
	}
	b, err := empty(c.settings)
	if err != nil {
		return nil, err
	}
	err = b.run(ctx, "pg_basebackup", "-D", b.dir, "-d", c.URL(RoleSuper, "postgres"), "-X", "stream", "-c", "fast", "--no-sync")
	if err != nil {
		return nil, errors.Join(err, b.Remove(context.WithoutCancel(ctx)))
	}
	return b, nil
}

// Copy copies the cluster's files while it rests. The copy is not started yet.
func (c *Cluster) Copy(ctx context.Context) (*Cluster, error) {
	if err := c.outlast(ctx); err != nil {
		return nil, err
	}
	if err := c.Stop(ctx, Fast); err != nil {
		return nil, err
	}
	b, err := empty(c.settings)
	if err == nil {
		err = b.run(ctx, "cp", "-a", c.dir, b.dir)
	}
	return b, errors.Join(err, c.Start(ctx))
}

// Follow makes a backup a standby and starts it: of a primary, or of nobody, so that it stays where the backup ended.
func (c *Cluster) Follow(ctx context.Context, primary *Cluster) error {
	signal := filepath.Join(c.dir, "standby.signal")
	uid, gid, err := serverUser()
	if err == nil {
		err = os.WriteFile(signal, nil, 0o600)
	}
	if err == nil {
		err = os.Chown(signal, uid, gid)
	}
	if err == nil && primary != nil {
		err = c.follows(primary)
	}
	if err != nil {
		return err
	}
	return c.Start(ctx)
}

func (c *Cluster) follows(primary *Cluster) error {
	f, err := os.OpenFile(filepath.Join(c.dir, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "primary_conninfo = 'host=%s port=%d user=%s application_name=standby'\n", primary.sock, primary.port, RoleSuper)
	return errors.Join(err, f.Close())
}

// Promote makes a standby a primary, on a new timeline.
func (c *Cluster) Promote(ctx context.Context) error {
	return c.run(ctx, "pg_ctl", "-D", c.dir, "-w", "-t", "50", "promote")
}

// SetPort makes the cluster listen elsewhere from its next start on.
func (c *Cluster) SetPort(port int) { c.port = port }

// TakePlaceOf makes the cluster listen where another one did that rests now.
func (c *Cluster) TakePlaceOf(ctx context.Context, other *Cluster) error {
	if c.running {
		if err := c.Stop(ctx, Fast); err != nil {
			return err
		}
	}
	c.sock, c.port = other.sock, other.port
	return c.Start(ctx)
}
