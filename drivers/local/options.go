package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tenure-dev/tenure/drivers/execparent"
)

// Options of the driver.
type Options struct {
	// Root holds the runtimes. It is made if it is missing.
	Root string
	// ParentCommand starts a process that calls execparent.Main: a program and its arguments.
	ParentCommand []string
	// UID and GID run the commands when the engine is root. 0 is root itself and needs AllowRoot. An engine that is not
	// root leaves them 0 or names its own.
	UID, GID int
	// AllowRoot lets commands run as root. The isolation is "none" then.
	AllowRoot bool
	// Grace lies between SIGTERM and SIGKILL where a request does not say; 0 is 5 s.
	Grace time.Duration
	// APIURL is the engine's own, as commands reach it; they get it as PAPERCLIP_API_URL. "" for none.
	APIURL string
	// Drain bounds the wait for output after a command's main process has exited; 0 is 2 s.
	Drain time.Duration
}

// Defaults fills in what is not set.
func (o Options) Defaults() Options {
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
	if o.UID < 0 || o.GID < 0 {
		problems = append(problems, fmt.Errorf("options UID and GID: %d and %d are not ids", o.UID, o.GID))
	}
	switch euid := os.Geteuid(); {
	case euid == 0 && (o.UID == 0 || o.GID == 0) && !o.AllowRoot:
		problems = append(problems, errors.New("options UID and GID: commands would run as root; name an unprivileged user, or allow root"))
	case euid != 0 && o.UID != 0 && o.UID != euid:
		problems = append(problems, fmt.Errorf("option UID: only root can run commands as uid %d; this process is uid %d", o.UID, euid))
	}
	return errors.Join(problems...)
}

// credential is whom commands run as; nil is this process's own user.
func (o Options) credential() *execparent.Credential {
	if os.Geteuid() != 0 || o.UID == 0 {
		return nil
	}
	return &execparent.Credential{UID: uint32(o.UID), GID: uint32(o.GID)}
}
