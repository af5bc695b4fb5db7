package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/internal/spawn"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// Credential is whom workers run as.
type Credential = spawn.Credential

// Options of a host. Dir and HostVersion are needed.
type Options struct {
	// Dir holds the records of running workers and what is learnt of them. It is made if it is missing.
	Dir    string
	Logger *slog.Logger
	// Credential is whom workers run as when the engine is root, which needs it; else it is nil.
	Credential *Credential
	// Path and NodePath are the workers' PATH and NODE_PATH; an empty Path is the engine's own.
	Path, NodePath string
	// HostVersion and InstanceID are told to workers, as are the two words about the deployment.
	HostVersion, InstanceID            string
	DeploymentMode, DeploymentExposure string

	Timeouts Timeouts
	Restart  Restart
	// MaxLine is the longest line of a worker; 0 is 128 MiB. A longer one ends the worker.
	MaxLine int
	// OutputWindow is how many bytes of a command's output may be on their way; 0 is 1 MiB.
	OutputWindow int64
}

// Timeouts of the host. Zero fields get their defaults.
type Timeouts struct {
	// Initialize bounds the start of a worker, from the process to its answer: 15 s.
	Initialize time.Duration
	// Health is how often a worker is asked how it is, and how long it has to answer: 30 s each. One that does not is ended.
	Health, HealthReply time.Duration
	// Verb bounds acquire, resume, release and destroy where the caller has more time: 15 min. The acquire of a blind driver has all
	// the time of its caller.
	Verb time.Duration
	// Probe, Validate, List and ExecStart bound these: 120 s, 30 s, 60 s, 60 s.
	Probe, Validate, List, ExecStart time.Duration
	// ExecuteMargin is what a command may take beyond its own timeout: 30 s.
	ExecuteMargin time.Duration
	// Drain is how long calls in flight are waited for before a worker is ended on purpose: 10 s. Then it has Shutdown to
	// answer shutdown, and Term after SIGTERM: 10 s, 5 s.
	Drain, Shutdown, Term time.Duration
}

// Restart says how the host goes on after a failure; see the package's description.
type Restart struct {
	// First and Longest bound a rest: 1 s, 5 min.
	First, Longest time.Duration
	// Stable is how long a worker runs until its end is not a failure to start: 1 min.
	Stable time.Duration
	// GiveUp is how many failures in a row end the tries: 10.
	GiveUp int
	// Patience is how long a call waits for a rest to end: 3 s. A longer rest is an error at once.
	Patience time.Duration
}

// Defaults fills in what is not set.
func (o Options) Defaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Path == "" {
		o.Path = os.Getenv("PATH")
	}
	if o.Path == "" {
		o.Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	if o.MaxLine <= 0 {
		o.MaxLine = protocol.DefaultMaxLine
	}
	if o.OutputWindow <= 0 {
		o.OutputWindow = 1 << 20
	}
	o.Timeouts = o.Timeouts.defaults()
	o.Restart = o.Restart.defaults()
	return o
}

func (t Timeouts) defaults() Timeouts {
	orElse(&t.Initialize, 15*time.Second)
	orElse(&t.Health, 30*time.Second)
	orElse(&t.HealthReply, 30*time.Second)
	orElse(&t.Verb, 15*time.Minute)
	orElse(&t.Probe, 120*time.Second)
	orElse(&t.Validate, 30*time.Second)
	orElse(&t.List, 60*time.Second)
	orElse(&t.ExecStart, 60*time.Second)
	orElse(&t.ExecuteMargin, 30*time.Second)
	orElse(&t.Drain, 10*time.Second)
	orElse(&t.Shutdown, 10*time.Second)
	orElse(&t.Term, 5*time.Second)
	return t
}

func (r Restart) defaults() Restart {
	orElse(&r.First, time.Second)
	orElse(&r.Longest, 5*time.Minute)
	orElse(&r.Stable, time.Minute)
	orElse(&r.Patience, 3*time.Second)
	if r.GiveUp <= 0 {
		r.GiveUp = 10
	}
	return r
}

func orElse(d *time.Duration, otherwise time.Duration) {
	if *d <= 0 {
		*d = otherwise
	}
}

// Validate names every option that cannot work in this process.
func (o Options) Validate() error {
	var problems []error
	if !filepath.IsAbs(o.Dir) {
		problems = append(problems, fmt.Errorf("option Dir: %q is not an absolute path", o.Dir))
	}
	if o.HostVersion == "" {
		problems = append(problems, errors.New("option HostVersion: is missing"))
	}
	switch euid := os.Geteuid(); {
	case o.Credential == nil:
	case o.Credential.UID == 0 || o.Credential.GID == 0:
		problems = append(problems, errors.New("option Credential: names root; name an unprivileged user"))
	case euid != 0 && int(o.Credential.UID) != euid:
		problems = append(problems, fmt.Errorf("option Credential: only root can run workers as uid %d; this process is uid %d", o.Credential.UID, euid))
	}
	return errors.Join(problems...)
}

// Installed is one version of a plugin that is on this machine.
type Installed struct {
	Plugin   drivers.Plugin
	Manifest manifest.Manifest
	// Command starts the worker: a program, which is looked up if it has no slash, and its arguments.
	Command []string
	// Env is what the operator names for it beyond the environment that every worker has, SecretEnv the part of that which is
	// searched for in whatever the worker says, and hidden.
	Env, SecretEnv map[string]string
	// Enabled is the version that new leases get. Of one plugin at most one is; the others serve the leases that are pinned
	// to them, as long as one is enabled.
	Enabled bool
	// Disabled counts how often the plugin was disabled: a worker does not outlive that, also where the next Set comes only
	// after the plugin was enabled again.
	Disabled int
	// AsRoot runs the worker as root where the engine is root.
	AsRoot bool
	// AcceptsOlder lets it serve leases of versions that are not here any more.
	AcceptsOlder bool
	// Prepare is called before each start; what it returns is added to the environment. nil prepares nothing.
	Prepare func(ctx context.Context) (env map[string]string, err error)
	// Inside makes the worker instead of Command, in this process; see [Inside]. nil starts a process.
	Inside func() Inside
	// Started is called with the process of each worker once it is there, before it is told anything; nil does nothing.
	Started func(pid int) error
}
