package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Server is a running Postgres and what keeps it running.
type Server struct {
	opts    Options
	lock    *DirLock
	ownLock bool
	cluster *cluster
	log     serverLog
	at      address // fixed once the first postmaster is ready

	stopSupervisor context.CancelFunc
	done           chan struct{} // closed when the supervisor has ended

	mu      sync.Mutex
	pm      *postmaster
	err     error
	restart int

	stopOnce sync.Once
	stopErr  error
}

// Start makes the cluster if there is none, adopts its server if one is still running, or starts one, and returns when it answers.
// It returns an *Error for everything a person has to act on. ctx bounds the start, not the server's life.
func Start(ctx context.Context, opts Options) (*Server, error) {
	opts = opts.Defaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	lock, own := opts.Lock, false
	if lock == nil {
		var err error
		if lock, err = Lock(opts.DataDir); err != nil {
			return nil, err
		}
		own = true
	}
	s := &Server{
		opts: opts, lock: lock, ownLock: own, log: newServerLog(lock.Dir(), opts.LogLimit),
		done: make(chan struct{}),
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.unlock())
	}
	return s, nil
}

// start is one straight line: each step needs the one before.
func (s *Server) start(ctx context.Context) error {
	begun := time.Now()
	dataDir := s.lock.Dir()
	acct, err := resolveAccount(s.opts.User)
	if err != nil {
		return err
	}
	major, err := clusterMajor(dataDir)
	if err != nil {
		return err
	}
	bins, err := findBinaries(ctx, s.opts.BinDir, major)
	if err != nil {
		return err
	}
	if err := checkDataDir(ctx, dataDir, acct, bins); err != nil {
		return err
	}
	s.cluster = &cluster{dataDir: dataDir, dir: filepath.Join(dataDir, clusterName), acct: acct, bins: bins}
	if major == 0 {
		if err := s.cluster.initialize(ctx, s.opts.StartTimeout, s.opts.NoSync); err != nil {
			return err
		}
	}
	if err := s.cluster.checkOwner(); err != nil {
		return err
	}
	pm, err := s.bringUp(ctx)
	if err != nil {
		return err
	}
	s.at, s.pm = pm.at, pm
	s.opts.Logger.Info("postgres is ready", "pid", pm.pid, "version", bins.major, "adopted", pm.adopted, "new", major == 0, "took", time.Since(begun))
	supervise, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stopSupervisor = cancel
	go s.supervise(supervise)
	return nil
}

// bringUp returns a server that answers. It looks again when one ended in between: an engine may have died while it was stopping
// its server, or just before the one it launched had written its pid file.
func (s *Server) bringUp(ctx context.Context) (*postmaster, error) {
	const attempts = 3
	var last error
	for range attempts {
		pid, err := s.cluster.settle(ctx)
		if err != nil {
			return nil, err
		}
		var pm *postmaster
		if pid != 0 {
			pm = s.adopt(pid)
		} else if pm, err = s.launch(); err != nil {
			return nil, err
		}
		err = s.awaitReady(ctx, pm)
		if err == nil && s.misplaced(pm) {
			err = errUnreachable
		}
		if err == nil {
			return pm, nil
		}
		last = s.explain(pm, err)
		if errors.Is(err, errExited) {
			continue
		}
		// Nothing of a failed start stays, except a server that may still be recovering for the next start to adopt.
		if pm.adopted && ctx.Err() != nil {
			pm.unwatch()
			return nil, last
		}
		halt, cancel := context.WithTimeout(context.WithoutCancel(ctx), orphanGrace)
		err = s.halt(halt, pm)
		cancel()
		if !pm.adopted || err != nil || ctx.Err() != nil {
			return nil, errors.Join(last, err)
		}
	}
	return nil, last
}

// misplaced reports an adopted server that listens elsewhere than in this data directory's private place, or, at a restart, than the
// connection strings say.
func (s *Server) misplaced(pm *postmaster) bool {
	if s.at.port != 0 {
		return pm.at != s.at
	}
	dir, err := s.cluster.socketDir()
	return err != nil || pm.at.dir != dir
}

func (s *Server) explain(pm *postmaster, err error) error {
	if reason := s.log.since(pm.logFrom); reason != "" {
		err = fmt.Errorf("%w: %s", err, reason)
	}
	if isNoSpace(err) || s.OutOfSpace() != nil {
		return NoSpace(s.lock.Dir(), err)
	}
	return &Error{
		Code: CodeStartFailed, What: "Postgres did not become ready", Cause: err,
		Remediation: "see " + s.log.path,
	}
}

// ConnString connects to the engine's database as its owner. It contains no secret and stays the same for the Server's life.
func (s *Server) ConnString() string { return s.cluster.connString(s.at, databaseName) }

// PID is the postmaster's process id, that of the last one while none is running.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pm.pid
}

// Adopted reports whether the present server was running before this process took it over.
func (s *Server) Adopted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pm.adopted
}

// Restarts counts how often the server died and was brought up again.
func (s *Server) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restart
}

// Exited closes when no server is kept running any more: after Stop, or when it cannot be brought up again. Err says which.
func (s *Server) Exited() <-chan struct{} { return s.done }

// Err is nil until Exited is closed, and then why, nil after Stop.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stop shuts the server down and returns when none of its processes is left. When ctx ends first it is ended by force, which is an
// error but loses nothing. Stop may be called more than once.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		s.stopSupervisor()
		<-s.done
		err := s.halt(ctx, s.pm)
		// Only an empty directory goes: what somebody else put there stays.
		_ = os.Remove(s.at.dir)
		s.stopErr = errors.Join(err, s.unlock())
		s.opts.Logger.Info("postgres is stopped", "pid", s.pm.pid)
	})
	return s.stopErr
}

func (s *Server) unlock() error {
	if !s.ownLock {
		return nil
	}
	return s.lock.Unlock()
}
