package ssh

import (
	"errors"
	"time"

	"github.com/tenure-dev/tenure/drivers/runtimeurl"
)

// Options of the driver. The zero value is complete.
type Options struct {
	// AgentSocket is the socket of the SSH agent for environments with useAgent; "" is none.
	AgentSocket string
	// ConnectTimeout bounds each phase of a connection where the configuration does not say; 0 is 15 s.
	ConnectTimeout time.Duration
	// Keepalive is how often a connection is tried. One that stays silent for twice as long is given up. 0 is 15 s.
	Keepalive time.Duration
	// Idle is how long a connection is kept without use; 0 is 5 minutes.
	Idle time.Duration
	// ScriptLimit bounds what a host may take for a script of ours other than a release; 0 is 60 s.
	ScriptLimit time.Duration
	// MaxConnections bounds the connections to one target, which are more than one only where the server's MaxSessions
	// forces that; 0 is 16.
	MaxConnections int
	// SessionWait bounds the wait for a free session once no more connections may be made; 0 is 30 s.
	SessionWait time.Duration
	// Grace lies between SIGTERM and SIGKILL where a request does not say; 0 is 5 s.
	Grace time.Duration
	// Drain bounds the wait for output after a command's main process has exited; 0 is 2 s.
	Drain time.Duration
	// RuntimeURL finds the URL at which a host reaches the API; nil looks for none.
	RuntimeURL *runtimeurl.Discoverer
	// MinFree is how much space a workspace must have for a lease, in KiB; 0 is 16 MiB, and less than 0 does not look.
	MinFree int64

	// hide are programs of the host that are not to be used; tests take some away.
	hide []string
	// machineFile is where a host says which machine it is; tests give theirs another name.
	machineFile string
}

// Defaults fills in what is not set.
func (o Options) Defaults() Options {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&o.ConnectTimeout, 15 * time.Second}, {&o.Keepalive, 15 * time.Second}, {&o.Idle, 5 * time.Minute},
		{&o.SessionWait, 30 * time.Second}, {&o.Grace, 5 * time.Second}, {&o.Drain, 2 * time.Second},
		{&o.ScriptLimit, time.Minute},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = 16
	}
	if o.machineFile == "" {
		o.machineFile = "/etc/machine-id"
	}
	if o.MinFree == 0 {
		o.MinFree = 16 * 1024
	}
	return o
}

// Validate names every option that cannot work.
func (o Options) Validate() error {
	var problems []error
	if o.ConnectTimeout < 0 || o.Keepalive < 0 || o.Idle < 0 || o.SessionWait < 0 || o.Grace < 0 || o.Drain < 0 || o.ScriptLimit < 0 {
		problems = append(problems, errors.New("options: a duration is negative"))
	}
	if o.MaxConnections < 0 {
		problems = append(problems, errors.New("option MaxConnections: is negative"))
	}
	return errors.Join(problems...)
}
