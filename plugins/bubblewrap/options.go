package bubblewrap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tenure-dev/tenure/drivers/execparent"
	"github.com/tenure-dev/tenure/plugins/cgroup"
)

// Options of the driver.
type Options struct {
	// Root holds the runtimes. It is made if it is missing.
	Root string
	// ParentCommand starts a process that calls execparent.Main: a program and its arguments.
	ParentCommand []string
	// Bwrap is the path of bwrap; "" is /usr/bin/bwrap.
	Bwrap string
	// Cgroups is where limits can be kept; nil is nowhere.
	Cgroups *cgroup.Hierarchy
	// UID and GID run the sandboxes when this process is root, and must not be 0 then. Otherwise they are not used.
	UID, GID int
	// ReadOnlyBases are the directories that config.readOnlyPaths may name, or name something below; nil is
	// [DefaultReadOnlyBases]. Whoever writes a configuration can read what is below them.
	ReadOnlyBases []string
	// Grace lies between SIGTERM and SIGKILL where a request does not say; 0 is 5 s.
	Grace time.Duration
	// Drain bounds the wait for output after a command's main process has exited; 0 is 2 s.
	Drain time.Duration
}

// DefaultReadOnlyBases hold programs and what belongs to them, and no user's or service's data.
var DefaultReadOnlyBases = []string{"/opt", "/srv", "/nix", "/gnu"}

// Defaults fills in what is not set.
func (o Options) Defaults() Options {
	if o.Bwrap == "" {
		o.Bwrap = "/usr/bin/bwrap"
	}
	if o.ReadOnlyBases == nil {
		o.ReadOnlyBases = DefaultReadOnlyBases
	}
	if o.Grace <= 0 {
		o.Grace = 5 * time.Second
	}
	if o.Drain <= 0 {
		o.Drain = 2 * time.Second
	}
	return o
}

// Validate names every option that cannot work in this process.
func (o Options) Validate() error {
	var problems []error
	if !filepath.IsAbs(o.Root) {
		problems = append(problems, fmt.Errorf("option Root: %q is not an absolute path", o.Root))
	}
	if len(o.ParentCommand) == 0 {
		problems = append(problems, errors.New("option ParentCommand: names no program"))
	}
	if !filepath.IsAbs(o.Bwrap) {
		problems = append(problems, fmt.Errorf("option Bwrap: %q is not an absolute path", o.Bwrap))
	}
	if o.UID < 0 || o.GID < 0 {
		problems = append(problems, fmt.Errorf("options UID and GID: %d and %d are not ids", o.UID, o.GID))
	}
	if os.Geteuid() == 0 && (o.UID == 0 || o.GID == 0) {
		problems = append(problems, errors.New("options UID and GID: sandboxes would run as root; name an unprivileged user"))
	}
	return errors.Join(problems...)
}

// credential is whom sandboxes run as; nil is this process's own user.
func (o Options) credential() *execparent.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &execparent.Credential{UID: uint32(o.UID), GID: uint32(o.GID)}
}

// user is whom commands run as, in either case.
func (o Options) user() (uid, gid int) {
	if c := o.credential(); c != nil {
		return int(c.UID), int(c.GID)
	}
	return os.Geteuid(), os.Getegid()
}
